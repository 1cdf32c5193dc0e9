"""Schemas that no engine can compile are refused, and none is dropped in silence."""

import asyncio
from typing import Any

import pytest

from hutch.core.errors import BadInput
from hutch.runtime import schemas


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "bogus"}, "bogus"),
        ({"$ref": "#/$defs/nosuch"}, "nosuch"),
        ({"type": "object", "properties": 5}, "properties must be an object"),
        ({"type": "string", "pattern": "("}, "regex parse error"),
        ({"type": "string", "pattern": "(?=a)"}, "look-around"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "format": "weird"}, "weird"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_the_reason(schema: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as refusal:
        asyncio.run(schemas.usable(schema))
    assert refusal.value.param == "format"


def test_a_schema_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def look(module: str, data: bytes, within_s: float) -> bytes:
        asked.append(data)
        return b""

    async def use() -> None:
        await asyncio.gather(*(schemas.usable({"const": "once"}) for _ in range(5)))

    monkeypatch.setattr(schemas, "done_aside", look)
    asyncio.run(use())
    assert asked == [b'{"const": "once"}']


def test_a_schema_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_WITHIN_S", 0.001)
    with pytest.raises(BadInput, match="took more than"):
        asyncio.run(schemas.usable({"const": "slow"}))
