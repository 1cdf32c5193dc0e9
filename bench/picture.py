"""The pictures of a run: every figure beside the base's, and tokens a second by how many ask at once. Pure."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from bench.figures import Line as Row
from hutch.optimize.picture import HEIGHT, WIDTH, Circle, Line, Shape, Text

_LEFT, _RIGHT, _TOP, _BOTTOM = 300, 190, 60, 50
_NARROW_LEFT = 80
_COLOURS = ("#1f6feb", "#b35900", "#1a7f37", "#8250df", "#cf222e", "#57606a", "#0a7ea4", "#9a6700")
_GRID, _BASE = "#eaeef2", "#24292f"
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_AT_ONCE = re.compile(r"(\d+) at once")


def colours(servers: Sequence[str]) -> dict[str, str]:
    """A colour for each server, the same in every picture."""
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(servers)}


def ratios(rows: Sequence[Row], base: str, colour_of: Mapping[str, str]) -> list[Shape]:
    """How many times better than the base each server is, a row for each figure; over 1 is to the right."""
    shown = [row for row in rows if row.times]
    figures = list(dict.fromkeys((row.workload, row.figure) for row in shown))
    bounds = [value for row in shown if row.times for value in (row.times.low, row.times.high) if value > 0]
    low, high = math.log10(min([0.5, *bounds])), math.log10(max([2.0, *bounds]))

    def x_of(times: float) -> float:
        share = (math.log10(times) - low) / (high - low)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * share

    step = (HEIGHT - _TOP - _BOTTOM) / max(1, len(figures))
    found: list[Shape] = [Text((20, 30), f"Times better than {base}", 17), *_legend(colour_of, base)]
    for tick in _TICKS:
        if low <= math.log10(tick) <= high:
            x = x_of(tick)
            found.append(Line(((x, _TOP), (x, HEIGHT - _BOTTOM)), _BASE if tick == 1 else _GRID))
            found.append(Text((x, HEIGHT - _BOTTOM + 20), f"{tick:g}", anchor="middle"))
    for number, (workload, figure) in enumerate(figures):
        y = _TOP + step * (number + 0.5)
        found.append(Text((_LEFT - 12, y + 4), f"{workload}: {figure}", 11, anchor="end"))
        for row in shown:
            if row.times and row.times.low > 0 and (row.workload, row.figure) == (workload, figure):
                colour = colour_of[row.server]
                beside = y + (list(colour_of).index(row.server) - (len(colour_of) - 1) / 2) * min(4, step / 8)
                found.append(Line(((x_of(row.times.low), beside), (x_of(row.times.high), beside)), colour))
                found.append(Circle((x_of(row.times.median), beside), 3, colour, colour))
    return found


def at_once(rows: Sequence[Row], colour_of: Mapping[str, str]) -> list[Shape]:
    """All tokens a second, by how many ask at once: a line for each server. Empty where nothing of that was asked."""
    points: dict[str, dict[int, float]] = {}
    for row in rows:
        matched = _AT_ONCE.fullmatch(row.workload)
        if matched and row.figure == "total" and row.own:
            points.setdefault(row.server, {})[int(matched[1])] = row.own.median
    numbers = sorted({number for each in points.values() for number in each})
    if not numbers:
        return []
    most = max(value for each in points.values() for value in each.values()) * 1.1

    def place(number: int, value: float) -> tuple[float, float]:
        share = (numbers.index(number) + 0.5) / len(numbers)
        across = _NARROW_LEFT + (WIDTH - _NARROW_LEFT - _RIGHT) * share
        return across, HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / most

    found: list[Shape] = [
        Text((20, 30), "Tokens a second in total, prompts included, by requests at once", 17)
    ]
    found += _legend({name: colour for name, colour in colour_of.items() if name in points}, "")
    for share in range(5):
        _, y = place(numbers[0], most * share / 5)
        found.append(Line(((_NARROW_LEFT, y), (WIDTH - _RIGHT, y)), _GRID))
        found.append(Text((_NARROW_LEFT - 10, y + 4), f"{most * share / 5:.0f}", anchor="end"))
    found += [
        Text((place(number, 0)[0], HEIGHT - _BOTTOM + 20), str(number), anchor="middle") for number in numbers
    ]
    for name, values in points.items():
        line = tuple(place(number, values[number]) for number in sorted(values))
        found.append(Line(line, colour_of[name]))
        found += [Circle(point, 4, colour_of[name], colour_of[name]) for point in line]
    return found


def _legend(colour_of: Mapping[str, str], base: str) -> Iterator[Shape]:
    names = [name for name in colour_of if name != base]
    for number, name in enumerate(names):
        y = _TOP + 20 + 22 * number
        yield Circle((WIDTH - _RIGHT + 16, y - 4), 4, colour_of[name], colour_of[name])
        yield Text((WIDTH - _RIGHT + 26, y), name, 11)
