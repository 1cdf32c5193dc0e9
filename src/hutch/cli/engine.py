"""`hutch engine`: builds llama.cpp for this machine, and chooses which engine is used."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hutch import config, places
from hutch.cli import columns, plain
from hutch.core import models
from hutch.core.errors import BadInput
from hutch.runtime import machine
from hutch.store import installed
from hutch.store.engines import build as building

_EVERY = 10  # of a hundred: how often a build tells how far it is where there is no terminal


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
    _show(building.build(places.engines(), name, kind, args.jobs or machine.num_cores()))
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


def _show(reports: Iterable[models.Progress]) -> None:
    """A bar for each long step on a terminal, a line now and then elsewhere. Bytes are told in MB."""
    if not sys.stderr.isatty():
        _show_lines(reports)
        return
    bar = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*bar, console=Console(stderr=True, highlight=False)) as progress:
        tasks = {}
        for report in reports:
            if report.status not in tasks:
                tasks[report.status] = progress.add_task(_status(report), total=None)
            done, total = _counted(report)
            progress.update(tasks[report.status], completed=done, total=total)


def _show_lines(reports: Iterable[models.Progress]) -> None:
    last: tuple[str, int] = ("", 0)
    for report in reports:
        done, total = _counted(report)
        tenth = done * 100 // total // _EVERY if total else 0
        if (report.status, tenth) != last:
            print(_status(report) + (f" {done} of {total}" if total else ""), file=sys.stderr, flush=True)
        last = (report.status, tenth)


def _status(report: models.Progress) -> str:
    return f"{report.status} (MB)" if report.digest else report.status


def _counted(report: models.Progress) -> tuple[int, int | None]:
    unit = 10**6 if report.digest else 1
    total = None if report.total is None else max(1, report.total // unit)
    return (report.completed or 0) // unit, total
