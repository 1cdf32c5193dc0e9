"""Durations as Ollama's clients write them: `5m`, `1h30m`, `-1`, `300`."""

import math
import re

from hutch.core.errors import BadInput

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PIECE = re.compile(rf"({_NUMBER})(h|ms|m|s|us|µs|μs|ns)")
_MAX_CHARS = 100  # to look for pieces takes the square of the length
_GO_TYPES = {bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}  # as Ollama names them
_HINT = "Write a duration like 300s, 5m or 1h30m."
FOREVER = math.inf


def parse_duration_s(text: str) -> float:
    """Read a Go duration; the result is in seconds. Raises BadInput with Go's own words."""
    body = text[1:] if text.startswith(("+", "-")) else text
    if len(body) > _MAX_CHARS:
        raise BadInput("time: invalid duration: too long", hint=_HINT)
    sign = -1.0 if text.startswith("-") else 1.0
    if body == "0":
        return 0.0
    pieces = _PIECE.findall(body)
    if not pieces or "".join(number + unit for number, unit in pieces) != body:
        what = "missing unit in duration" if re.fullmatch(_NUMBER, body) else "invalid duration"
        raise BadInput(f'time: {what} "{text}"', hint=_HINT)
    return sign * sum(float(number) * _UNITS_S[unit] for number, unit in pieces)


def parse_keep_alive_s(value: object) -> float | None:
    """Read a request's `keep_alive` in seconds; negative means forever, None means not given."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        kind = _GO_TYPES.get(type(value), "object")
        raise BadInput(
            f"Unsupported type: '{kind}' for keep_alive", hint="keep_alive is a duration.", param="keep_alive"
        )
    try:
        seconds = parse_duration_s(value) if isinstance(value, str) else float(value)
    except OverflowError:  # an integer that no float can hold
        return FOREVER
    if math.isnan(seconds):
        raise BadInput("keep_alive is not a number")
    return FOREVER if seconds < 0 else seconds


def format_duration(seconds: float) -> str:
    """Write whole seconds as Go does: `5m0s`, `1h0m0s`, `30s`."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{secs}s"
    return f"{minutes}m{secs}s" if minutes else f"{secs}s"
