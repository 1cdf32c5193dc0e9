"""`hutch engine`: builds llama.cpp for this machine, and chooses which engine is used."""

import argparse
import json
import sys
from pathlib import Path

from hutch import config, places
from hutch.cli import columns, plain, steps
from hutch.core.errors import BadInput
from hutch.runtime import machine
from hutch.store import installed
from hutch.store.engines import build as building


def engine(args: argparse.Namespace) -> None:
    """List, build, choose or remove engines."""
    if args.action == "list":
        _list(args)
    elif args.action == "build":
        _build(args)
    else:
        name = _named(args)
        (installed.use if args.action == "use" else installed.remove)(places.engines(), name)
        _tell(args, name if args.action == "use" else "")


def _named(args: argparse.Namespace) -> str:
    if not args.name:
        raise BadInput(
            f"hutch engine {args.action} needs the name of an engine", hint="Run 'hutch engine list'."
        )
    return str(args.name)


def _list(args: argparse.Namespace) -> None:
    found = installed.engines(places.engines(), _configured())
    if args.json:
        print(json.dumps({"engines": [each._asdict() for each in found]}, indent=2))
        return
    rows = [(each.name, each.kind, "yes" if each.in_use else "", each.path) for each in found]
    plain.out(columns.table(("NAME", "KIND", "IN USE", "PATH"), rows))


def _build(args: argparse.Namespace) -> None:
    kind = args.kind or building.likely_kind()
    name = installed.checked_name(args.name or kind)
    if args.jobs is not None and not 1 <= args.jobs <= 1024:
        raise BadInput("--jobs takes a number from 1 to 1024")
    with steps.shown() as tell:
        for report in building.build(places.engines(), name, kind, args.jobs or machine.num_cores()):
            tell(report)
    installed.use(places.engines(), name)
    _tell(args, name)


def _tell(args: argparse.Namespace, name: str) -> None:
    """What is so now, on stderr where stdout is for a program."""
    if args.json:
        _list(args)
    if name:
        print(f"models that are loaded from now on use '{name}'", file=sys.stderr)
        if configured := _configured():
            plain.err(
                f"note: not yet: the settings name {configured}, which goes first (HUTCH_LLAMA_SERVER, hutch.toml)"
            )


def _configured() -> Path | None:
    return config.load().llama_server
