"""The values that templates handle: how they are written, compared, and taken apart."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


class Record(Mapping[str, Any]):
    """A struct: it has just these fields. `source` is what it is written as, in JSON; nothing of it is lost."""

    __slots__ = ("_fields", "source")

    def __init__(self, fields: Mapping[str, Any], source: Any = None) -> None:
        self._fields = fields
        self.source = fields if source is None else source

    def __getitem__(self, name: str) -> Any:
        """A field's value."""
        return self._fields[name]

    def __iter__(self) -> Any:
        """The names of the fields."""
        return iter(self._fields)

    def __len__(self) -> int:
        """The number of fields."""
        return len(self._fields)


def is_list(value: object) -> bool:
    """Whether this is a list to a template."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def truth(value: Any) -> bool:
    """Whether this counts as true: everything but false, 0, nil and what is empty."""
    return True if isinstance(value, Record) else bool(value)


def written(value: Any) -> str:
    """A value as an action writes it. Objects are written as JSON; nil is written as nothing."""
    if isinstance(value, str):
        return str(value)
    return "" if value is None else formatted(value)


def formatted(value: Any) -> str:
    """A value as `%v` formats it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return formatted_float(value)
    if isinstance(value, Mapping) or (is_list(value) and any(isinstance(item, Record) for item in value)):
        return to_json(value)
    if is_list(value):
        return f"[{' '.join(formatted(item) for item in value)}]"
    return str(value)


def formatted_float(value: float) -> str:
    """A float in the fewest digits that tell it from its neighbours."""
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124  # NaN alone is not itself
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    exponent = int(text.partition("e")[2])
    if -5 < exponent < 21:
        return f"{value:f}".rstrip("0").rstrip(".")
    return text.replace(".0e", "e")


def to_json(value: Any) -> str:
    """A value as JSON, with its keys in the order in which they came."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_source)


def _source(value: Any) -> Any:
    if isinstance(value, Record):
        return value.source
    return dict(value) if isinstance(value, Mapping) else list(value)
