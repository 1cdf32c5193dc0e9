"""The functions of templates: Go's own, and those that Ollama adds.

They raise ValueError for arguments that they cannot take. `and` and `or` are evaluated elsewhere: they need not see all
of their arguments.
"""

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus

from hutch.prompt.gotemplate.values import formatted, formatted_float, is_list, to_json, truth

Value = Any
_VERB = re.compile(r"%([-+# 0]*)(\d{0,9})(?:\.(\d{0,9}))?(.)", re.DOTALL)
_MAX_WIDTH = 1000
_TYPESCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                raise ValueError(f"a map has no index {formatted(key)[:40]}")  # noqa: TRY004
            value = value.get(key)
        elif isinstance(value, str) or is_list(value):
            items = value.encode() if isinstance(value, str) else value
            value = items[_position(key, len(items) - 1)]
        else:
            raise ValueError(f"{_kind(value)} cannot be indexed")
    return value


def _slice(value: Value, *bounds: Value) -> Value:
    if len(bounds) > 2 + is_list(value):
        raise ValueError(f"too many indexes for {_kind(value)}")
    if not isinstance(value, str) and not is_list(value):
        raise ValueError(f"{_kind(value)} cannot be sliced")
    items = value.encode() if isinstance(value, str) else value
    ends = [_position(bound, len(items)) for bound in bounds]
    if ends != sorted(ends):
        raise ValueError(f"invalid slice indexes: {ends}")
    part = items[slice(*(ends[:2] if len(ends) > 1 else [*ends, None] if ends else [None]))]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _position(value: Value, last: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{_kind(value)} is no index")  # noqa: TRY004  # every error here is a ValueError
    if not 0 <= value <= last:
        raise ValueError(f"index out of range: {value}")
    return value


def _len(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if not isinstance(value, Mapping) and not is_list(value):
        raise ValueError(f"{_kind(value)} has no length")
    return len(value)


def _eq(first: Value, *others: Value) -> bool:
    if not others:
        raise ValueError("eq needs two values")
    return any(_is_equal(first, other) for other in others)


def _ne(first: Value, second: Value) -> bool:
    return not _is_equal(first, second)


def _is_equal(first: Value, second: Value) -> bool:
    if first is None or second is None:
        return first is second
    kinds = _kind(first), _kind(second)
    if kinds[0] != kinds[1] or kinds[0] in ("a list", "a map"):
        raise ValueError(f"{kinds[0]} and {kinds[1]} cannot be compared")
    return bool(first == second)


def _order(first: Value, second: Value) -> int:
    kinds = _kind(first), _kind(second)
    if kinds[0] != kinds[1] or kinds[0] not in ("a number", "a string"):
        raise ValueError(f"{kinds[0]} and {kinds[1]} have no order")
    return int(first > second) - int(first < second)


def _kind(value: Value) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a map" if isinstance(value, Mapping) else "a list"


def _print(*values: Value) -> str:
    """Like Go's Sprint: a space between two neighbours of which neither is a string."""
    pieces: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            pieces.append(" ")
        pieces.append(formatted(value))
    return "".join(pieces)


def _println(*values: Value) -> str:
    return " ".join(formatted(value) for value in values) + "\n"


def _printf(form: Value, *values: Value) -> str:
    if not isinstance(form, str):
        raise ValueError("printf needs a format")  # noqa: TRY004
    used = 0

    def one(match: re.Match[str]) -> str:
        nonlocal used
        flags, width, precision, verb = match[1], int(match[2] or 0), match[3], match[4]
        if verb == "%":
            return "%"
        if width > _MAX_WIDTH or int(precision or 0) > _MAX_WIDTH:
            raise ValueError(f"a width in a format is at most {_MAX_WIDTH}")
        if used == len(values):
            return f"%!{verb}(MISSING)"
        value = values[used]
        used += 1
        text = _verb(verb, flags, precision, value)
        fill = "0" if "0" in flags and isinstance(value, int | float) else " "
        if "-" in flags:
            return text.ljust(width)
        return text.zfill(width) if fill == "0" else text.rjust(width)

    text = _VERB.sub(one, form)
    if used < len(values):
        rest = ", ".join(f"{_go_type(value)}={formatted(value)}" for value in values[used:])
        text += f"%!(EXTRA {rest})"
    return text


def _verb(verb: str, flags: str, precision: str | None, value: Value) -> str:
    """One value by one verb of a format; what does not fit is said in the text, as Go does."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text: str | None = None
    if verb == "v":
        text = formatted(value)
    elif verb == "T":
        text = _go_type(value)
    elif verb == "s" and not is_number and not isinstance(value, bool):
        text = formatted(value)[: int(precision or 0) if precision is not None else None]
    elif verb == "q" and isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif verb == "t" and isinstance(value, bool):
        text = formatted(value)
    elif verb in "dxXobcU" and isinstance(value, int) and is_number:
        text = _integer(verb, value)
    elif verb in "xX" and isinstance(value, str):
        text = value.encode().hex()
        text = text.upper() if verb == "X" else text
    elif verb in "eEfFgG" and isinstance(value, float):
        short = verb in "gG" and precision is None
        text = formatted_float(value) if short else f"{value:.{precision or 6}{verb}}"
    if text is None:
        return f"%!{verb}({_go_type(value)}={formatted(value)})"
    return "+" + text if "+" in flags and is_number and not text.startswith("-") else text


def _integer(verb: str, value: int) -> str:
    if verb == "c":
        return chr(value) if 0 <= value < 0xD800 or 0xE000 <= value < 0x110000 else "\ufffd"
    return f"U+{value:04X}" if verb == "U" else f"{value:{verb}}"


def _go_type(value: Value) -> str:
    if value is None:
        return "<nil>"
    names: Sequence[tuple[type, str]] = ((bool, "bool"), (int, "int"), (float, "float64"), (str, "string"))
    found = [name for kind, name in names if isinstance(value, kind)]
    return found[0] if found else "[]interface {}" if is_list(value) else "map[string]interface {}"


def _html(*values: Value) -> str:
    return html.escape(_print(*values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def _js(*values: Value) -> str:
    text = _print(*values)
    return "".join(_JS.get(c) or (f"\\u{ord(c):04X}" if c < " " else c) for c in text)


def _urlquery(*values: Value) -> str:
    return quote_plus(_print(*values))


def _current_date(*_: Value) -> str:
    return date.today().isoformat()  # noqa: DTZ011  # where the server stands


def _yesterday_date(*_: Value) -> str:
    return (date.today() - timedelta(days=1)).isoformat()  # noqa: DTZ011


def _typescript(value: Value) -> str:
    """A JSON Schema as a TypeScript type."""
    if not isinstance(value, Mapping):
        return "any"
    options = value.get("AnyOf") or ()
    if options:
        return " | ".join(_typescript(option) for option in options)
    kinds = value.get("Type") or ()
    named = (kinds,) if isinstance(kinds, str) else kinds
    return " | ".join(_TYPESCRIPT.get(str(kind), "any") for kind in named) or "any"


FUNCTIONS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "and": lambda *values: next((value for value in values if not truth(value)), values[-1]),
        "or": lambda *values: next((value for value in values if truth(value)), values[-1]),
        "not": lambda value: not truth(value),
        "eq": _eq,
        "ne": _ne,
        "lt": lambda first, second: _order(first, second) < 0,
        "le": lambda first, second: _order(first, second) <= 0,
        "gt": lambda first, second: _order(first, second) > 0,
        "ge": lambda first, second: _order(first, second) >= 0,
        "len": _len,
        "index": _index,
        "slice": _slice,
        "print": _print,
        "println": _println,
        "printf": _printf,
        "html": _html,
        "js": _js,
        "urlquery": _urlquery,
        "json": to_json,
        "currentDate": _current_date,
        "yesterdayDate": _yesterday_date,
        "toTypeScriptType": _typescript,
    }
)
