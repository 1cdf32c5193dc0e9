"""The picture of a model's benchmark as SVG: tokens a second by how many ask at once, and how long the slowest waits. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 70, 80, 60
_BARS, _LINE = "#1f6feb", "#b35900"


def svg(found: Mapping[str, Any]) -> str:
    """The whole picture of what `hutch models test --benchmark` found."""
    rows: Sequence[Mapping[str, Any]] = found["concurrency"]
    title = f"{found['model']}, {found['quantization']}, {found['engine']}"
    below = (
        f"first token {found['first_token_s'] * 1000:.0f} ms, decode {found['decode_tokens_per_s']:.0f} tok/s, "
        f"prefill {found['prefill_tokens_per_s']:.0f} tok/s"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 28, title, size=17),
        _text(_LEFT, 50, below),
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}V{_TOP}" fill="none" stroke="#24292f"/>',
        *_bars(rows),
        *_waits(rows),
        _text(_WIDTH / 2, _HEIGHT - 14, "requests at once", anchor="middle"),
        _text(_LEFT, _TOP - 8, "tok/s", fill=_BARS, anchor="middle"),
        _text(_WIDTH - _RIGHT, _TOP - 8, "slowest first token, ms", fill=_LINE, anchor="end"),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    most = max((row["tokens_per_s"] for row in rows), default=1.0)
    parts = []
    for index, row in enumerate(rows):
        x, height = _x(index, len(rows)), _span() * row["tokens_per_s"] / most * 0.9
        y = _HEIGHT - _BOTTOM - height
        parts.append(f'<rect x="{x - 28:.1f}" y="{y:.1f}" width="56" height="{height:.1f}" fill="{_BARS}"/>')
        parts.append(_text(x, y - 6, f"{row['tokens_per_s']:.0f}", fill=_BARS, anchor="middle"))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 20, str(row["requests"]), anchor="middle"))
    return parts


def _waits(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    most = max((row["slowest_first_token_s"] for row in rows), default=1.0)
    places = [
        (_x(index, len(rows)), _HEIGHT - _BOTTOM - _span() * row["slowest_first_token_s"] / most * 0.8)
        for index, row in enumerate(rows)
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="2"/>']
    for (x, y), row in zip(places, rows, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_LINE}"/>')
        parts.append(_text(x + 34, y + 4, f"{row['slowest_first_token_s'] * 1000:.0f}", fill=_LINE))
    return parts


def _x(index: int, count: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (index + 0.5) / count


def _span() -> float:
    return float(_HEIGHT - _TOP - _BOTTOM)


def _text(
    x: float, y: float, text: str, *, size: int = 13, fill: str = "#24292f", anchor: str = "start"
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'
