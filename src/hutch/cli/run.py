"""`hutch run`: one question, or a conversation."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from hutch import places
from hutch.cli import answer, background, http, progress, repl
from hutch.cli.client import HttpServer, Server
from hutch.cli.session import Session, read_think
from hutch.core.durations import parse_duration_s
from hutch.core.errors import BadInput, NotFound
from hutch.core.names import DEFAULT_TAG, ModelName
from hutch.core.options import parse_option


def run(args: argparse.Namespace) -> None:
    """Answer the prompt and what comes through a pipe; without both, begin a conversation."""
    session = Session(
        HttpServer(),
        args.model,
        system=args.system or "",
        format=read_format(args.format),
        think=read_think(args.think),
        keep_alive=read_keep_alive(args.keepalive),
        verbose=args.verbose,
        is_wrapping=not args.nowordwrap,
        is_hiding_thinking=args.hidethinking,
        gpu_layers=read_gpu_layers(places.first_set(*places.GPU_LAYERS)),
        truncate=None if args.truncate is None else args.truncate == "true",
        dimensions=args.dimensions,
    )
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    prompt = " ".join(part for part in (piped, *args.prompt) if part)
    background.ensure()
    session.model, told = described(session.server, args.model, insecure=args.insecure)
    session.capabilities = told.get("capabilities") or ()
    if "embedding" in session.capabilities and "completion" not in session.capabilities:
        embed(session, prompt)
        return
    for flag in ("truncate", "dimensions"):
        if getattr(args, flag) is not None:
            raise BadInput(f"--{flag} is for embedding models, and '{args.model}' is none")
    if prompt or not (sys.stdin.isatty() and sys.stdout.isatty()):
        answer.show(session, session.server.stream("/api/generate", session.generate_body(prompt)))
    else:
        repl.talk(session)


def described(server: Server, model: str, *, insecure: bool = False) -> tuple[str, dict[str, Any]]:
    """The name by which a model is there, and what `/api/show` tells about it.

    It is pulled first where it is there under none of the catalog's names for it.
    """
    try:
        return model, server.ask("/api/show", {"model": model})
    except NotFound:
        name = _installed(ModelName.parse(model))
        if not name:
            name = model
            progress.show(server.stream("/api/pull", {"model": model, "insecure": insecure}))
    return name, server.ask("/api/show", {"model": name})


def _installed(wanted: ModelName) -> str:
    """The name by which what the catalog has under this name is there; "" where it is not."""
    try:
        models = http.ask("GET", "/api/catalog")["models"]
    except NotFound:  # a server of Ollama's
        return ""
    for each in models:
        known = [ModelName.parse(name) for name in (each["name"], *each["aliases"])]
        if each["installed"] and any(name.same_as(wanted) for name in known):
            return str(each["installed"][0])
        for variant in each["variants"]:
            tagged = (_with_tag(name, variant["tag"]) for name in known)
            if variant["installed"] and any(name.same_as(wanted) for name in tagged):
                return str(variant["installed"][0])
    return ""


def _with_tag(name: ModelName, tag: str) -> ModelName:
    """The name of a variant."""
    return name._replace(tag=tag if name.tag == DEFAULT_TAG else f"{name.tag}-{tag}")


def embed(session: Session, text: str) -> None:
    """Print a text's vector."""
    if not text:
        raise BadInput(
            "embedding models need a text", hint=f"Write 'hutch run {session.model} \"some text\"'."
        )
    print(json.dumps(session.server.ask("/api/embed", session.embed_body(text))["embeddings"][0]))


def read_format(text: str | None) -> str | dict[str, Any] | None:
    """The value of --format: `json`, a schema, or the path of one."""
    if not text or text == "json":
        return text or None
    source = text
    if not text.lstrip().startswith("{"):
        try:
            source = Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                f"--format {text}: {error}", hint="It takes json, or a JSON schema, or its file."
            ) from error
    try:
        schema = json.loads(source)
    except ValueError as error:
        raise BadInput(f"--format: the schema is no JSON: {error}") from error
    if not isinstance(schema, dict):
        raise BadInput("--format: a schema is a JSON object")
    return schema


def read_gpu_layers(variable: str) -> int | None:
    """The value of this variable of the environment, if there is one."""
    if not variable:
        return None
    try:
        return int(parse_option("num_gpu", places.variable(variable)))
    except BadInput as error:
        raise BadInput(f"{variable}: {error.message}", hint="It takes a number of layers.") from error


def read_keep_alive(text: str | None) -> float | str | None:
    """The value of --keepalive: seconds, or a duration."""
    if not text:
        return None
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
        return float(text)
    parse_duration_s(text)
    return text
