"""Schemas that no engine can compile are refused, and none is dropped in silence."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hutch.core.chat import Form
from hutch.core.errors import BadInput, NotBuilt
from hutch.engines.protocol import Endpoint, LaunchPlan
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


@pytest.mark.parametrize(
    ("form", "grammar", "is_gbnf"),
    [
        (Form("regex", r"a/\d", "p"), "%llguidance {}\nstart: /a\\/\\d/", False),
        (Form("grammar", 'root ::= "a"', "p"), '%llguidance {}\n\nstart: "a"\n', True),
        (Form("grammar", ' %llguidance {}\nstart: "a"', "p"), '%llguidance {}\nstart: "a"', False),
        (Form("grammar", 'start: "a"', "p"), '%llguidance {}\nstart: "a"', False),
    ],
)
def test_a_form_becomes_a_grammar_that_both_engines_take(form: Form, grammar: str, is_gbnf: bool) -> None:
    made = asyncio.run(schemas.usable(form))
    assert isinstance(made, Form)
    assert (made.grammar.rstrip(), made.is_gbnf) == (grammar.rstrip(), is_gbnf)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (Form("regex", "(", "p"), "unclosed group"),
        (Form("grammar", "root ::= (", "p"), "Expected"),
        (Form("grammar", 'root ::= other\nother ::= "a" nope', "p"), "nope"),
        (Form("grammar", 'root ::= b{1000}\nb ::= c{1000}\nc ::= "a"{1000}', "p"), "too much work"),
    ],
)
def test_a_form_that_cannot_be_used_is_refused_with_its_field(form: Form, words: str) -> None:
    with pytest.raises(BadInput, match=words) as refusal:
        asyncio.run(schemas.usable(form))
    assert refusal.value.param == "p"


def test_a_llama_server_of_ones_own_takes_gbnf_alone() -> None:
    plan = LaunchPlan("w", Endpoint("s"), 512, 1, 512, 512, 1)
    gbnf, regex = Form("grammar", "root ::= x", "p", "lark", True), Form("regex", "a", "p", "lark")
    assert schemas.suited(regex, plan) is regex
    assert schemas.suited({"type": "object"}, replace(plan, binary="/b")) == {"type": "object"}
    assert schemas.suited(gbnf, replace(plan, binary="/b")) == replace(gbnf, grammar="root ::= x")
    with pytest.raises(NotBuilt, match="GBNF"):
        schemas.suited(regex, replace(plan, binary="/b"))


def test_a_schema_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_WITHIN_S", 0.001)
    with pytest.raises(BadInput, match="took more than"):
        asyncio.run(schemas.usable({"const": "slow"}))
