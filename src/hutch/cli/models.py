"""The models: listing, copying, removing, and unloading them."""

import argparse
import json
from functools import partial
from typing import Any

from hutch.cli import columns, http, plain, side
from hutch.core.errors import HutchError, NotFound


def list_models(args: argparse.Namespace) -> None:
    """`hutch list [PREFIX]`."""
    local = "hutch.cli.local:tags" if args.json else "hutch.cli.stored:tags"  # the latter starts at once
    told = side.either(lambda: http.ask("GET", "/api/tags"), local)
    for problem in told.get("broken", ()):  # of a server's; what is read here is told of as it is read
        plain.err(f"Warning: {problem}")
    print_list(told, args.prefix, as_json=args.json)


def print_list(told: dict[str, Any], prefix: str = "", *, as_json: bool = False) -> None:
    """Print the table of what `/api/tags` tells."""
    models = _starting_with(prefix, told)
    if as_json:
        print(json.dumps({"models": models}, indent=2))
        return
    rows = [
        (
            model["name"],
            model["digest"][:12],
            columns.human_size(model["size"]),
            columns.human_time(model["modified_at"]),
        )
        for model in models
    ]
    plain.out(columns.table(("NAME", "ID", "SIZE", "MODIFIED"), rows))


def ps(args: argparse.Namespace) -> None:
    """`hutch ps [PREFIX]`."""
    answer = http.ask("GET", "/api/ps")
    side.note_settings()
    models = _starting_with(args.prefix, answer)
    if args.json:
        print(json.dumps({"models": models}, indent=2))
        return
    rows = [
        (
            model["name"],
            model["digest"][:12],
            columns.human_size(model["size"]),
            runs_on(model),
            str(model.get("context_length") or ""),
            until(model.get("expires_at")),
        )
        for model in models
    ]
    plain.out(columns.table(("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"), rows))
    for model in models:
        for step in (model.get("hardware") or {}).get("fallbacks", ()):
            plain.out(f"{model['name']} does not run on {step['provider']}: {step['reason']}")
        if values := model.get("tuned"):
            plain.out(f"{model['name']} is tuned: {columns.named(values)}")
        if less := model.get("less"):
            plain.out(f"{model['name']} has {', '.join(less)}: memory has no room for more")


def stop(args: argparse.Namespace) -> None:
    """`hutch stop MODEL`."""
    try:
        http.ask("POST", "/api/generate", {"model": args.model, "keep_alive": 0, "stream": False})
    except NotFound as error:
        raise NotFound(f"couldn't find model '{args.model}' to stop", hint=error.hint) from error
    side.note_settings()


def cp(args: argparse.Namespace) -> None:
    """`hutch cp SOURCE DESTINATION`."""
    body = {"source": args.source, "destination": args.destination}
    side.either(
        lambda: http.ask("POST", "/api/copy", body), "hutch.cli.local:copy", args.source, args.destination
    )
    print(f"copied '{args.source}' to '{args.destination}'")


def rm(args: argparse.Namespace) -> None:
    """`hutch rm MODEL…`."""
    for name in args.models:
        side.either(
            partial(http.ask, "DELETE", "/api/delete", {"model": name}), "hutch.cli.local:delete", name
        )
        print(f"deleted '{name}'")


def runs_on(model: dict[str, Any]) -> str:
    """The processor column: of an ONNX model the provider, and the runner where it is not Hutch's own."""
    hardware = model.get("hardware")
    if not hardware or not hardware["provider"]:
        return processor(model["size"], model.get("size_vram") or 0)
    where = "100% CPU" if hardware["provider"] == "cpu" else str(hardware["provider"])
    return where if hardware["runner"] == "onnxruntime" else f"{where}, GenAI"


def processor(size_bytes: int, vram_bytes: int) -> str:
    """Where a loaded model lies."""
    if vram_bytes == 0:
        return "100% CPU"
    if vram_bytes == size_bytes:
        return "100% GPU"
    if vram_bytes > size_bytes or size_bytes == 0:
        return "Unknown"
    on_cpu = round((size_bytes - vram_bytes) / size_bytes * 100)
    return f"{on_cpu}%/{100 - on_cpu}% CPU/GPU"


def until(expires_at: str | None) -> str:
    """When a loaded model goes; one whose time has come is on its way."""
    told = columns.human_time(expires_at)
    return "Stopping..." if told.endswith(" ago") else told


def _starting_with(prefix: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
    models = answer.get("models")
    if not isinstance(models, list):
        raise HutchError("the server's answer is no list of models")
    return [model for model in models if model["name"].lower().startswith(prefix.lower())]
