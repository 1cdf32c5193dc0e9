"""`hutch pull` and `push`: models fetched and sent."""

import argparse
from pathlib import Path

from hutch import places
from hutch.cli import http, progress, side
from hutch.cli.client import HttpServer
from hutch.core.errors import BadInput
from hutch.core.names import Reference


def pull(args: argparse.Namespace) -> None:
    """Fetch a model by its name, or from a source."""
    name, source = (None, args.model) if is_source(args.model) else (args.model, args.source)
    if name is None and args.source:
        raise BadInput(
            f"invalid model name '{args.model}'", hint="With --from, MODEL is the name that it gets."
        )
    if source or args.replace:
        if not side.is_here():
            raise BadInput(
                "a source, or --replace, is for the machine that keeps the models",
                hint="Run 'hutch pull' there.",
            )
    elif side.is_answering():
        side.note_settings()
        progress.show(HttpServer().stream("/api/pull", {"model": name, "insecure": args.insecure}))
        return
    elif not side.is_here():
        raise http.unreachable(places.server_address())
    # The store's locks are shared with a server that runs here.
    progress.show(
        side.here("hutch.cli.local:pull", name, source, replace=args.replace, insecure=args.insecure)
    )


def push(args: argparse.Namespace) -> None:
    """Send a model to the registry that its name says."""
    if side.is_answering():
        side.note_settings()
        progress.show(HttpServer().stream("/api/push", {"model": args.model, "insecure": args.insecure}))
    elif side.is_here():
        progress.show(side.here("hutch.cli.local:push", args.model, insecure=args.insecure))
    else:
        raise http.unreachable(places.server_address())


def is_source(text: str) -> bool:
    """Whether a word says where to get a model, and not how it is called."""
    if text.startswith(("https://", "http://")):
        return not _is_in_a_registry(text)
    if text.startswith(("pypi:", "./", "../", "/", "~")):
        return True
    return text.lower().endswith(".gguf") and Path(text).is_file()


def _is_in_a_registry(address: str) -> bool:
    """Whether an address is a name as `/api/pull` takes it, `https://host/namespace/model`, and not a file's."""
    if address.count("/") != 4 or address.lower().endswith(".gguf"):
        return False
    try:
        Reference.parse_address(address, insecure=True)
    except BadInput:
        return False
    return True
