"""The progress of long work: bars on a terminal, a line a step elsewhere. Always on stderr."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from hutch.cli import columns
from hutch.cli.plain import printable

Tell = Callable[[Mapping[str, Any]], None]


def show(reports: Iterable[Mapping[str, Any]]) -> None:
    """Show reports until they end. A report has `status`, and for one blob `digest`, `total`, `completed`."""
    with shown() as tell:
        for report in reports:
            tell(report)


@contextmanager
def shown() -> Iterator[Tell]:
    """Give the function that shows one report."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    console = Console(stderr=True, highlight=False)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield _bars(progress)


def _lines() -> Tell:
    last = ""

    def tell(report: Mapping[str, Any]) -> None:
        nonlocal last
        status = str(report.get("status", ""))
        if status != last:
            size = f" ({columns.human_size(report['total'])})" if report.get("total") else ""
            print(f"{status}{size}", file=sys.stderr)
        last = status

    return tell


def _bars(progress: Progress) -> Tell:
    tasks: dict[str, TaskID] = {}
    last = ""

    def tell(report: Mapping[str, Any]) -> None:
        nonlocal last
        status, total = printable(str(report.get("status", ""))), report.get("total")
        if total:
            key = str(report.get("digest") or status)
            if key not in tasks:
                tasks[key] = progress.add_task(status, total=total)
            progress.update(tasks[key], description=status, completed=report.get("completed") or 0)
        elif status != last:
            progress.console.print(status, markup=False)
        last = status

    return tell
