"""`hutch show`: what a model is."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hutch.cli import columns, http, plain, side
from hutch.core.errors import BadInput

_SHOWN_LINES = 2
_SHOWN_CHARACTERS = 60


def show(args: argparse.Namespace) -> None:
    """`hutch show MODEL`."""
    parts = args.parts or ()
    if len(parts) > 1:
        raise BadInput("only one of --license, --modelfile, --parameters, --template, --system can be shown")
    body = {"model": args.model, "verbose": args.verbose}
    told = side.either(
        lambda: http.ask("POST", "/api/show", body), "hutch.cli.local:show", args.model, verbose=args.verbose
    )
    if args.json:
        print(json.dumps(told, indent=2))
    elif parts:
        plain.out(told.get(parts[0]) or "")
    else:
        plain.out(sections(told, verbose=args.verbose))


def sections(told: Mapping[str, Any], *, verbose: bool = False) -> str:
    """The sections of a model's description, from the answer of `/api/show`."""
    info = told.get("model_info") or {}
    made = {
        "Model": _model(told, info),
        "Projector": [(key, str(value)) for key, value in (told.get("projector_info") or {}).items()],
        "Capabilities": [(str(each),) for each in told.get("capabilities") or ()],
        "Parameters": [
            tuple(line.split(None, 1)) for line in (told.get("parameters") or "").splitlines() if line.split()
        ],
        "Documents": [
            (each["name"], columns.human_size(each["size"])) for each in told.get("documents") or ()
        ],
        "Metadata": [(key, _value(value)) for key, value in sorted(info.items())] if verbose else [],
        "Tensors": _tensors(told) if verbose else [],
        "System": _beginning(told.get("system")),
        "License": _beginning(told.get("license")),
    }
    blocks = [
        "\n".join([f"  {name}", *(f"    {line}" for line in _lines(rows))])
        for name, rows in made.items()
        if rows
    ]
    return "\n\n".join(blocks) + "\n"


def _model(told: Mapping[str, Any], info: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    details = told.get("details") or {}
    hardware = told.get("hardware") or {}
    architecture = info.get("general.architecture") or details.get("family") or ""
    rows = (
        ("architecture", architecture),
        ("parameters", details.get("parameter_size")),
        ("context length", info.get(f"{architecture}.context_length")),
        ("embedding length", info.get(f"{architecture}.embedding_length")),
        ("quantization", details.get("quantization_level")),
        ("runner", hardware.get("runner")),
        ("provider", hardware.get("provider")),
        ("reproducible", told.get("reproducibility")),
        ("requires", told.get("requires")),
    )
    return [(name, str(value)) for name, value in rows if value]


def _tensors(told: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    return [(each["name"], each["type"], str(each["shape"])) for each in told.get("tensors") or ()]


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _beginning(text: str | None) -> Sequence[tuple[str, ...]]:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    more = ["..."] if len(lines) > _SHOWN_LINES else []
    return [(line,) for line in [*lines[:_SHOWN_LINES], *more]]


def _lines(rows: Sequence[tuple[str, ...]]) -> list[str]:
    width = max(map(len, rows))
    return columns.lines([(*row, *[""] * (width - len(row))) for row in rows])
