"""The picture of a search: speed against divergence, with the bound of the gate, as SVG. Pure; no library."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from hutch.optimize import choice
from hutch.optimize.choice import Outcome
from hutch.optimize.gate import Gate

WIDTH, HEIGHT = 900, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 190, 60, 70
_LEAST_KL = 0.0005  # where a variant lies that equals its source; logarithms know no zero
_COLOURS = {"onnx": "#1f6feb", "gguf": "#b35900", "folder": "#57606a"}
_INK, _GRID, _DASHES, _RED, _GREEN = "#24292f", "#eaeef2", "#8c959f", "#cf222e", "#1a7f37"
_SMALL, _LARGE = 13, 17
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, in pixels from the upper left corner."""

    points: tuple[Point, ...]
    colour: str = _INK
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle. `fill` is "none" for a ring."""

    centre: Point
    radius: float
    colour: str
    fill: str


@dataclass(frozen=True, slots=True)
class Text:
    """Words at the foot of which `at` lies: where they start, at their middle or where they end."""

    at: Point
    words: str
    size: int = _SMALL
    anchor: str = "start"  # start, middle or end
    colour: str = "#000000"
    is_upright: bool = False  # turned to the left by a quarter


Shape = Line | Circle | Text


def svg(title: str, outcomes: Sequence[Outcome], gate: Gate, chosen: Outcome | None) -> str:
    """The whole picture. Candidates without figures are left out."""
    return document(shapes(title, outcomes, gate, chosen))


def document(drawn: Iterable[Shape]) -> str:
    """Shapes on white ground, as a file of SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *map(_element, drawn),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def shapes(title: str, outcomes: Sequence[Outcome], gate: Gate, chosen: Outcome | None) -> list[Shape]:
    """What is drawn on the white ground, in order."""
    shown = [each for each in outcomes if each.speed is not None and each.accuracy is not None]
    scale = _Scale(shown, gate)
    front = tuple((scale.x(each), scale.y(each)) for each in choice.pareto(shown))
    found: list[Shape] = [
        Text((_LEFT, 30), title, _LARGE),
        *_axes(scale),
        *_bound(scale, gate),
        Line(front, _DASHES, is_dashed=True),
    ]
    for each in shown:
        found += _point(scale, each, is_chosen=each is chosen)
    return found


class _Scale:
    """Where figures lie: the score to the right, the divergence (logarithmic) up, so that good is lower right."""

    def __init__(self, outcomes: Sequence[Outcome], gate: Gate) -> None:
        scores = [each.speed.score for each in outcomes if each.speed]
        known = [each.accuracy.mean_kl for each in outcomes if each.accuracy]
        self.most = _round_up(max(scores, default=1.0) * 1.05)
        self.low = math.log10(_LEAST_KL)
        self.high = math.log10(max([1.0, gate.max_mean_kl * 2, *known]))

    def x(self, outcome: Outcome) -> float:
        return self.x_of(outcome.speed.score if outcome.speed else 0.0)

    def y(self, outcome: Outcome) -> float:
        return self.y_of(outcome.accuracy.mean_kl if outcome.accuracy else _LEAST_KL)

    def x_of(self, score: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * score / self.most

    def y_of(self, mean_kl: float) -> float:
        share = (math.log10(max(mean_kl, _LEAST_KL)) - self.low) / (self.high - self.low)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share


def _axes(scale: _Scale) -> Iterator[Shape]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    yield Line(((_LEFT, _TOP), (_LEFT, bottom), (right, bottom)))
    for step in range(6):
        score = scale.most * step / 5
        x = scale.x_of(score)
        yield Text((x, bottom + 20), f"{score:.0f}", anchor="middle")
        yield Line(((x, bottom), (x, _TOP)), _GRID)
    for power in range(-3, math.floor(scale.high) + 1):
        y = scale.y_of(10.0**power)
        yield Text((_LEFT - 10, y + 4), f"{10.0**power:g}", anchor="end")
        yield Line(((_LEFT, y), (right, y)), _GRID)
    across = "tokens a second: geometric mean of one stream and of eight at once"
    yield Text(((_LEFT + right) / 2, HEIGHT - 22), across, anchor="middle")
    up = "mean KL divergence from the source, nats"
    yield Text((26, (_TOP + bottom) / 2), up, anchor="middle", is_upright=True)


def _bound(scale: _Scale, gate: Gate) -> Iterator[Shape]:
    y = scale.y_of(gate.max_mean_kl)
    yield Line(((_LEFT, y), (WIDTH - _RIGHT, y)), _RED)
    yield Text((WIDTH - _RIGHT + 8, y + 4), f"gate: {gate.max_mean_kl:g}", colour=_RED)


def _point(scale: _Scale, outcome: Outcome, *, is_chosen: bool) -> Iterator[Shape]:
    x, y = scale.x(outcome), scale.y(outcome)
    colour = _COLOURS.get(outcome.format, "#57606a")
    if is_chosen:
        yield Circle((x, y), 11, _GREEN, "none")
    yield Circle((x, y), 6, colour, colour if outcome.passes else "#ffffff")
    name = outcome.name + (" (chosen)" if is_chosen else "" if outcome.passes else " (fails)")
    yield Text((x + 14, y + 4), name)


def _element(shape: Shape) -> str:
    """A shape as SVG has it."""
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dashes = ' stroke-dasharray="5 4"' if shape.is_dashed else ""
        return f'<polyline points="{points}" fill="none" stroke="{shape.colour}"{dashes}/>'
    if isinstance(shape, Circle):
        x, y = shape.centre
        centre = f'cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius:g}"'
        return f'<circle {centre} fill="{shape.fill}" stroke="{shape.colour}" stroke-width="2"/>'
    x, y = shape.at
    place = f'x="{x:.1f}" y="{y:.1f}"'
    if shape.is_upright:
        place = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)"'
    style = f'font-size="{shape.size}" text-anchor="{shape.anchor}" fill="{shape.colour}"'
    return f"<text {place} {style}>{escape(shape.words)}</text>"


def _round_up(value: float) -> float:
    """The next number of one or two digits and zeros, so that an axis ends at one."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(math.ceil(value / unit / 5) * 5 * unit)
