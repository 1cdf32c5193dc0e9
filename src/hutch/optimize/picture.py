"""The picture of a search: speed against divergence as SVG, with the bound of the gate. Pure; no library."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from hutch.optimize import choice
from hutch.optimize.choice import Outcome
from hutch.optimize.gate import Gate

_WIDTH, _HEIGHT = 900, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 190, 60, 70
_LEAST_KL = 0.0005  # where a variant lies that equals its source; logarithms know no zero
_COLOURS = {"onnx": "#1f6feb", "gguf": "#b35900", "folder": "#57606a"}


def svg(title: str, outcomes: Sequence[Outcome], gate: Gate, chosen: Outcome | None) -> str:
    """The whole picture. Candidates without figures are left out."""
    shown = [each for each in outcomes if each.speed is not None and each.accuracy is not None]
    scale = _Scale(shown, gate)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="30" font-size="17">{escape(title)}</text>',
        *_axes(scale),
        *_bound(scale, gate),
    ]
    front = choice.pareto(shown)
    points = " ".join(f"{scale.x(each):.1f},{scale.y(each):.1f}" for each in front)
    parts.append(f'<polyline points="{points}" fill="none" stroke="#8c959f" stroke-dasharray="5 4"/>')
    for each in shown:
        parts += _point(scale, each, is_chosen=each is chosen)
    return "\n".join([*parts, "</svg>"]) + "\n"


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
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * score / self.most

    def y_of(self, mean_kl: float) -> float:
        share = (math.log10(max(mean_kl, _LEAST_KL)) - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def _axes(scale: _Scale) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#24292f"/>']
    for step in range(6):
        score = scale.most * step / 5
        x = scale.x_of(score)
        parts.append(
            f'<text font-size="13" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{score:.0f}</text>'
        )
        parts.append(f'<path d="M{x:.1f} {bottom}V{_TOP}" stroke="#eaeef2"/>')
    for power in range(-3, math.floor(scale.high) + 1):
        y = scale.y_of(10.0**power)
        parts.append(
            f'<text font-size="13" x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        )
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#eaeef2"/>')
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text font-size="13" x="{middle:.0f}" y="{_HEIGHT - 22}" text-anchor="middle">'
        "tokens a second: geometric mean of one stream and of eight at once</text>"
    )
    parts.append(
        f'<text font-size="13" transform="translate(26 {(_TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        "mean KL divergence from the source, nats</text>"
    )
    return parts


def _bound(scale: _Scale, gate: Gate) -> list[str]:
    y = scale.y_of(gate.max_mean_kl)
    return [
        f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#cf222e"/>',
        f'<text font-size="13" x="{_WIDTH - _RIGHT + 8}" y="{y + 4:.1f}" fill="#cf222e">gate: {gate.max_mean_kl:g}</text>',
    ]


def _point(scale: _Scale, outcome: Outcome, *, is_chosen: bool) -> list[str]:
    x, y = scale.x(outcome), scale.y(outcome)
    colour = _COLOURS.get(outcome.format, "#57606a")
    fill = colour if outcome.passes else "#ffffff"
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11" fill="none" stroke="#1a7f37" stroke-width="2"/>'
    name = escape(outcome.name) + (" (chosen)" if is_chosen else "" if outcome.passes else " (fails)")
    return [
        *([ring] if is_chosen else []),
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="{colour}" stroke-width="2"/>',
        f'<text font-size="13" x="{x + 14:.1f}" y="{y + 4:.1f}">{name}</text>',
    ]


def _round_up(value: float) -> float:
    """The next number of one or two digits and zeros, so that an axis ends at one."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(math.ceil(value / unit / 5) * 5 * unit)
