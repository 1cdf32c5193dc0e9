"""Long work of many steps: a bar for each on a terminal, a line now and then elsewhere. Always on stderr."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hutch.core import models

Tell = Callable[[models.Progress], None]
_EVERY = 10  # of a hundred: how often a step tells how far it is where there is no terminal


@contextmanager
def shown() -> Iterator[Tell]:
    """Give the function that shows one report. Counts are shown as they are, bytes (of a `digest`) in MB."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    bar = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*bar, console=Console(stderr=True, highlight=False)) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(report: models.Progress) -> None:
            if report.status not in tasks:
                tasks[report.status] = progress.add_task(_status(report), total=None)
            done, total = _counted(report)
            progress.update(tasks[report.status], completed=done, total=total)

        yield tell


def follow(work: Generator[models.Progress, None, Any], tell: Tell) -> Any:
    """Do the work, showing its reports. What it returns is returned."""
    while True:
        try:
            tell(next(work))
        except StopIteration as end:
            return end.value


def _lines() -> Tell:
    last: tuple[str, int] = ("", 0)

    def tell(report: models.Progress) -> None:
        nonlocal last
        done, total = _counted(report)
        tenth = done * 100 // total // _EVERY if total else 0
        if (report.status, tenth) != last:
            print(_status(report) + (f" {done} of {total}" if total else ""), file=sys.stderr, flush=True)
        last = (report.status, tenth)

    return tell


def _status(report: models.Progress) -> str:
    return f"{report.status} (MB)" if report.digest else report.status


def _counted(report: models.Progress) -> tuple[int, int | None]:
    unit = 10**6 if report.digest else 1
    total = None if report.total is None else max(1, report.total // unit)
    return (report.completed or 0) // unit, total
