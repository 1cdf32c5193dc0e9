"""Constraints: what they allow, what they refuse, and how much work they may cause."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx.guidance import MAX_FORM_CHARS, Constraint, Guidance
from hutch.engines.onnx.sampling import Sampler, SamplingParams
from hutch.engines.onnx.text import Tokens
from tests.unit.engines.onnx import made_tokenizers as made

PADDING = 7  # logits that stand for no token
EOS = 2
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer.json."""
    return made.byte_level(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def tokens(path: Path) -> Tokens:
    """Its vocabulary."""
    return Tokens(path, eos=[EOS])


@pytest.fixture(scope="module")
def guidance(tokens: Tokens) -> Guidance:
    """What makes constraints over it."""
    return Guidance(tokens, tokens.size + PADDING)


def written(constraint: Constraint, tokens: Tokens, seed: int, num_tokens: int = 400) -> str:
    """What a model that knows nothing writes under a constraint."""
    sampler = Sampler(SamplingParams(temperature=1, top_k=0, top_p=1, seed=seed), tokens.size + PADDING)
    logits = np.zeros(tokens.size + PADDING, np.float32)
    said: list[int] = []
    while not constraint.is_complete and len(said) < num_tokens:
        token = sampler.choose(logits, said, constraint.mask()).token
        constraint.accept(token)
        if token == EOS:
            break
        said.append(token)
    return tokens.decode(said)


def follows(constraint: Constraint, tokens: Tokens, text: str) -> bool:
    """Whether an answer may be this text and end there."""
    for token in tokens.encode(text, parse_special=False):
        if constraint.is_complete or not constraint.mask()[token]:
            return False
        constraint.accept(token)
    return constraint.may_end


@given(st.integers(0, 1 << 30))
@settings(max_examples=25, deadline=None)
def test_whatever_the_model_writes_is_what_the_schema_says(
    guidance: Guidance, tokens: Tokens, seed: int
) -> None:
    value = json.loads(written(guidance.json_schema(WEATHER), tokens, seed))
    assert list(value) == ["city", "days"]
    assert isinstance(value["city"], str)
    assert len(value["city"]) <= 8
    assert 1 <= value["days"] <= 9


@given(st.integers(0, 1 << 30))
@settings(max_examples=10, deadline=None)
def test_whatever_the_model_writes_fits_the_expression(guidance: Guidance, tokens: Tokens, seed: int) -> None:
    text = written(guidance.regex(r"[a-c]{2,5}-\d+(x|yy)"), tokens, seed)
    assert text[-1] in "xy"
    assert "-" in text


def test_json_is_any_object_and_nothing_else(guidance: Guidance, tokens: Tokens) -> None:
    def fits(text: str) -> bool:
        return follows(guidance.json_schema({"type": "object"}), tokens, text)

    assert fits('{"a": [1, 2.5, null, {"é": "😀"}]}')
    assert fits("{}")
    assert not fits("[1]")
    assert not fits('{"a": 1')
    assert not fits('Sure: {"a": 1}')


def test_space_between_the_parts_is_bounded(guidance: Guidance, tokens: Tokens) -> None:
    def fits(text: str) -> bool:
        return follows(guidance.json_schema({"type": "object"}), tokens, text)

    assert fits('{\n  "a": 1,\n  "b": 2\n}')
    assert not fits('{     "a": 1}')
    assert not fits('{\n\n\n"a": 1}')


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "yes" | "no" more\nmore ::= ", " [a-z]{2,3}',  # GBNF
        'start: "yes" | "no" more\nmore: ", " /[a-z]{2,3}/',  # Lark
    ],
)
def test_a_grammar_is_llama_cpps_or_lark(guidance: Guidance, tokens: Tokens, grammar: str) -> None:
    texts = {"yes": True, "no, abc": True, "no, a": False, "no": False, "maybe": False}
    assert {text: follows(guidance.grammar(grammar), tokens, text) for text in texts} == texts


def test_at_the_end_only_the_end_is_allowed(guidance: Guidance, tokens: Tokens) -> None:
    constraint = guidance.regex("ab?")
    assert not constraint.mask()[EOS]
    constraint.accept(tokens.encode("a")[0])
    assert constraint.may_end
    assert not constraint.is_complete
    assert set(np.flatnonzero(constraint.mask())) == {EOS, *tokens.encode("b")}
    constraint.accept(tokens.encode("b")[0])
    assert constraint.is_complete
    assert list(np.flatnonzero(constraint.mask())) == [EOS]
    constraint.accept(EOS)


def test_padding_and_special_tokens_are_never_allowed(guidance: Guidance, tokens: Tokens) -> None:
    mask = guidance.regex(r"(.|\n)+").mask()
    assert mask.shape == (tokens.size + PADDING,)
    assert not mask[tokens.size :].any()
    assert not mask[sorted(tokens.special)].any()
    assert mask[tokens.encode("e")[0]]


def test_a_mark_in_a_grammar_is_its_token_where_it_is_a_special_one(
    guidance: Guidance, tokens: Tokens
) -> None:
    assert guidance.literal("<|tool|>") == "<[3]>"
    assert guidance.literal("<tool_call>\n") == '"<tool_call>\\n"'
    constraint = guidance.grammar(f"start: {guidance.literal('<|tool|>')} {guidance.literal('<tool_call>')}")
    assert list(np.flatnonzero(constraint.mask())) == [3]
    constraint.accept(3)
    assert constraint.mask()[tokens.encode("<tool_call>")[0]]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strin"}, "Invalid type: strin"),
        ({"not": {"type": "string"}}, r'Unimplemented keys: \["not"\]'),
        ({"$ref": "http://example.com/schema"}, "Resource"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"type": "string", "pattern": "(a"}, "pattern|regex"),
        ({"enum": ["\ud800"]}, "surrogates"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_with_the_reason(
    guidance: Guidance, schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        guidance.json_schema(schema)
    assert caught.value.message.startswith("the JSON Schema cannot be used: ")
    assert len(caught.value.message) < 400


def test_schemas_out_of_bounds_are_refused(guidance: Guidance) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(BadInput, match="recursion"):
        guidance.json_schema(deep)
    with pytest.raises(BadInput, match="characters"):
        guidance.json_schema({"const": "a" * MAX_FORM_CHARS})


@pytest.mark.parametrize(
    "text",
    ["", "hello", "root ::= ((", "root ::= none", "start: none", "root ::= " + "(" * 9000, "start: /(/"],
)
def test_a_grammar_that_is_none_is_refused(guidance: Guidance, text: str) -> None:
    with pytest.raises(BadInput, match="the grammar cannot be used: "):
        guidance.grammar(text)


def test_an_expression_that_is_none_is_refused(guidance: Guidance) -> None:
    with pytest.raises(BadInput, match="unclosed group"):
        guidance.regex("(a")
    with pytest.raises(BadInput, match="characters"):
        guidance.regex("a" * (MAX_FORM_CHARS + 1))


@pytest.mark.parametrize(
    "expression",
    [
        "((a{1,1000}){1,1000}b{1,1000}){1,1000}",
        "(a|b|ab)*c.{900}",
        "(a?){5000}a{5000}",
        r"(\pL|\d|.){9,99999}",
    ],
)
def test_a_hostile_expression_takes_little_time(guidance: Guidance, tokens: Tokens, expression: str) -> None:
    started = time.monotonic()
    with suppress(BadInput):
        written(guidance.regex(expression), tokens, 1, num_tokens=30)
    assert time.monotonic() - started < 10


def test_a_form_that_takes_too_much_work_is_the_requests_fault(guidance: Guidance, tokens: Tokens) -> None:
    with pytest.raises(BadInput, match=r"cannot be followed: .*too many"):
        written(guidance.regex("(a?){5000}a{5000}"), tokens, 1)


def test_a_token_that_is_not_allowed_is_an_error(guidance: Guidance, tokens: Tokens) -> None:
    with pytest.raises(EngineFailed, match="does not allow it"):
        guidance.regex("a").accept(tokens.encode("b")[0])


def test_constraints_of_one_model_know_nothing_of_each_other(guidance: Guidance, tokens: Tokens) -> None:
    one, two = guidance.regex("ab"), guidance.regex("ab")
    one.accept(tokens.encode("a")[0])
    assert not two.mask()[tokens.encode("b")[0]]


def test_a_model_without_an_end_is_refused(path: Path) -> None:
    with pytest.raises(EngineFailed, match="ends an answer"):
        Guidance(Tokens(path), 500)


def forced(tokens: Tokens, text: str) -> str:
    """What is written where only one text is allowed, and always the last token that is."""
    constraint = Guidance(tokens, tokens.size).regex(text)
    said: list[int] = []
    while not constraint.is_complete:
        said.append(int(np.flatnonzero(constraint.mask())[-1]))
        constraint.accept(said[-1])
    return tokens.decode(said)


def test_a_sentence_piece_vocabulary_can_be_guided(tmp_path: Path) -> None:
    assert forced(Tokens(made.sentence_piece(tmp_path), eos=[2]), " hello é world") == " hello é world"


def test_a_tokenizer_that_changes_texts_can_be_guided(tmp_path: Path) -> None:
    assert forced(Tokens(made.byte_level(tmp_path, is_lower=True), eos=[2]), "The Quick É") == "The Quick É"
