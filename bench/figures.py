"""Medians, ratios and the table. Pure: takes what was measured, prints nothing."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Value = float | None
LESS_IS_BETTER = ("ms", "s", "MiB", "KiB")


@dataclass(frozen=True, slots=True)
class Turn:
    """One workload, asked of every server one after another with prompts of the same length."""

    round: int
    workload: str
    values: dict[str, dict[str, Value]]  # figure → server → value
    errors: dict[str, list[str]]
    prompt_tokens: dict[str, list[int]]  # of every answer: all the same where the words are single tokens
    tokens: dict[str, list[int]]
    num_short: dict[str, int]  # answers that ended before they were asked to


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its extremes."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[Value]) -> "Spread | None":
        """Sum up what there is; None without a value."""
        known = [value for value in values if value is not None]
        return cls(statistics.median(known), min(known), max(known), len(known)) if known else None


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of one server, and how it stands to the base's in the same turns. `times`: how many times better."""

    workload: str
    figure: str
    unit: str
    server: str
    own: Spread | None
    times: Spread | None
    difference: Spread | None


def pairs(turns: Iterable[Turn], figure: str, server: str, base: str) -> list[tuple[float, float]]:
    """The turns in which both servers have this figure."""
    found = []
    for turn in turns:
        mine, other = turn.values[figure].get(server), turn.values[figure].get(base)
        if mine is not None and other is not None:
            found.append((mine, other))
    return found


def line(turns: Sequence[Turn], figure: tuple[str, str], server: str, base: str) -> Line:
    """Sum up one figure (name, unit) of one workload's turns for one server."""
    name, unit = figure
    both = pairs(turns, name, server, base) if server != base else []
    better = [(other, mine) if unit in LESS_IS_BETTER else (mine, other) for mine, other in both]
    return Line(
        turns[0].workload,
        name,
        unit,
        server,
        Spread.of(turn.values[name].get(server) for turn in turns),
        Spread.of(above / below for above, below in better if below),
        Spread.of(mine - other for mine, other in both),
    )


def table(lines: Sequence[Line], base: str) -> str:
    """Set the lines in columns, one row a figure and server."""
    heading = ("workload", "figure", "server", "median", "min–max", f"times better than {base}", "difference")
    rows = [heading, *(_cells(row) for row in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(row: Line) -> tuple[str, ...]:
    return (
        row.workload,
        f"{row.figure}, {row.unit}",
        row.server,
        f"{row.own.median:.1f}" if row.own else "–",
        f"{row.own.low:.1f}–{row.own.high:.1f}" if row.own else "–",
        f"{row.times.median:.3f} ({row.times.low:.3f}–{row.times.high:.3f})" if row.times else "",
        f"{row.difference.median:+.1f}" if row.difference else "",
    )


def as_json(lines: Sequence[Line], turns: Sequence[Turn]) -> dict[str, Any]:
    """Everything that was measured, for a file."""
    return {"figures": [asdict(line) for line in lines], "turns": [asdict(turn) for turn in turns]}
