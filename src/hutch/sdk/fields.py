"""One JSON object of an answer, whose fields are checked as they are asked for."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from hutch.sdk.failures import BEHIND, BadAnswer, bad_json

T = TypeVar("T")


class Fields:
    """The object, and where it stands in the answer. A field of another type raises BadAnswer."""

    __slots__ = ("_where", "raw")

    def __init__(self, raw: Any, where: str = "") -> None:
        if not isinstance(raw, Mapping):
            raise BadAnswer(f"the server's answer has no object at {where or 'its top'}")
        self.raw: Mapping[str, Any] = raw
        self._where = where

    @classmethod
    def parse(cls, data: bytes) -> "Fields":
        """Read the object that these bytes hold."""
        try:
            raw = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise bad_json(data) from error
        if not isinstance(raw, dict):
            raise bad_json(data)
        return cls(raw)

    def text(self, name: str) -> str:
        """A text, "" where there is none."""
        return self._field(name, str, "")

    def number(self, name: str) -> float:
        """A number, 0 where there is none."""
        return float(self._field(name, (int, float), 0))

    def count(self, name: str) -> int:
        """A whole number, 0 where there is none."""
        return int(self._field(name, int, 0))

    def flag(self, name: str) -> bool:
        """A truth value, False where there is none."""
        return self._field(name, bool, default=False)

    def inner(self, name: str) -> "Fields":
        """An object, an empty one where there is none."""
        return Fields(self._field(name, dict, {}), self._at(name))

    def inners(self, name: str) -> list["Fields"]:
        """The objects of a list."""
        return [Fields(each, f"{self._at(name)}.{i}") for i, each in enumerate(self.items(name))]

    def items(self, name: str) -> list[Any]:
        """A list as it came, an empty one where there is none."""
        return self._field(name, list, [])

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of a list."""
        items = self.items(name)
        if not all(isinstance(each, str) for each in items):
            raise _wrong(self._at(name))
        return tuple(items)

    def _field(self, name: str, kind: type[T] | tuple[type[T], ...], default: T) -> T:
        value = self.raw.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(self._at(name))
        return value

    def _at(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


def needed(fields: Fields, *names: str) -> None:
    """Raise BadAnswer for an object of something else: one that lacks what it would always have."""
    for name in names:
        if fields.raw.get(name) is None:
            raise BadAnswer(f"the server's answer has no field {name!r}", hint=BEHIND)


def moment(fields: Fields, name: str) -> datetime | None:
    """The moment in a field; None where there is none."""
    text = fields.text(name)
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise _wrong(name) from error


def vectors(fields: Fields, name: str) -> tuple[tuple[float, ...], ...]:
    """The rows of numbers in a field."""
    try:
        return tuple(tuple(map(float, row)) for row in fields.items(name))
    except (TypeError, ValueError) as error:
        raise _wrong(name) from error


def _wrong(where: str) -> BadAnswer:
    return BadAnswer(f"the server's answer has something else than was expected at {where}")
