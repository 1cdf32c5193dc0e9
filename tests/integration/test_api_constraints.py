"""Answers held to a regular expression, a grammar or a choice, in the fields that clients of vLLM and llama.cpp know."""

import re
from typing import Any

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import ask

pytestmark = [pytest.mark.slow, EVERY_ENGINE]
DATE = r"(19|20)\d\d-[01]\d/[0-3]\d"
GBNF = 'root ::= "yes" | "no" again\nagain ::= ("!" [a-c]){2}'
LARK = '%llguidance {}\nstart: "<" WORD ">"\nWORD: /[a-z]{3}/'


def asked(server: Server, path: str, **more: Any) -> Any:
    """The text of an answer, or what is wrong."""
    said: dict[str, Any] = {"prompt": "Say something:"}
    if path.endswith("chat/completions"):
        said = {"messages": [{"role": "user", "content": "Say something."}]}
    body = {"model": MODEL, "temperature": 1, "seed": 1, "max_tokens": 60, **said, **more}
    reply = ask(server, "POST", path, body)
    if reply.status != 200:
        assert reply.status == 400, reply.body
        return reply.json["error"]
    choice = reply.json["choices"][0]
    assert choice["finish_reason"] == "stop"
    return choice["message"]["content"] if "message" in choice else choice["text"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("field", "value", "pattern"),
    [
        ("guided_regex", DATE, DATE),
        ("structured_outputs", {"regex": DATE}, DATE),
        ("response_format", {"type": "regex", "pattern": DATE}, DATE),
        ("grammar", GBNF, r"yes|no(![a-c]){2}"),
        ("guided_grammar", LARK, "<[a-z]{3}>"),
        ("structured_outputs", {"grammar": GBNF}, r"yes|no(![a-c]){2}"),
        ("response_format", {"type": "grammar", "grammar": LARK}, "<[a-z]{3}>"),
        ("guided_choice", ['"quoted"', "back\\slash", "été/\n"], '"quoted"|back\\\\slash|été/\n'),
        ("structured_outputs", {"choice": ["left", "right"]}, "left|right"),
        ("guided_json", '{"enum": [1, 2]}', "[12]"),
        ("structured_outputs", {"json": {"const": "a"}, "regex": None}, '"a"'),
    ],
    ids=str,
)
def test_an_answer_matches_what_it_is_held_to(
    server: Server, path: str, field: str, value: Any, pattern: str
) -> None:
    said = asked(server, path, **{field: value})
    assert isinstance(said, str), said
    assert re.fullmatch(pattern, said.strip() if "json" in str((field, value)) else said), said


def test_a_stream_matches_too(server: Server) -> None:
    body = {"model": MODEL, "prompt": "Say:", "max_tokens": 60, "stream": True, "guided_regex": "[ab]{4}"}
    reply = ask(server, "POST", "/v1/completions", body)
    texts = re.findall(rb'"text": ?"([^"]*)"', reply.body)
    assert re.fullmatch(rb"[ab]{4}", b"".join(texts))


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"guided_regex": "(a"}, "guided_regex", "unclosed group"),
        ({"guided_regex": "(?=a)b"}, "guided_regex", "look-around"),
        ({"guided_regex": "a{100000}"}, "guided_regex", "1000 times"),
        ({"guided_regex": "a{" + "9" * 5000 + "}"}, "guided_regex", "1000 times"),
        ({"guided_regex": "a" * 70_000}, "guided_regex", "64 KiB"),
        ({"guided_regex": "((a{500})b{3}){500}"}, "guided_regex", "more than 10000"),
        ({"grammar": 'root ::= b{1000}\nb ::= c{1000}\nc ::= "a"{1000}'}, "grammar", "too much work"),
        ({"guided_regex": ["a"]}, "guided_regex", "string"),
        ({"guided_grammar": "root ::= nope"}, "guided_grammar", "nope"),
        ({"grammar": "not a grammar"}, "grammar", ""),
        ({"grammar": "root ::= " + "(" * 30_000}, "grammar", ""),
        ({"grammar": "   "}, "grammar", "a text is needed"),
        ({"grammar": "%llguidance {}\nstart: nope"}, "grammar", "nope"),
        ({"grammar": GBNF, "guided_regex": "a"}, "grammar", "only one of"),
        (
            {"guided_regex": "a", "response_format": {"type": "json_object"}},
            "guided_regex",
            "response_format can be given",
        ),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.regex", "only one of"),
        (
            {"structured_outputs": {"structural_tag": "{}"}},
            "structured_outputs.structural_tag",
            "not supported",
        ),
        ({"structured_outputs": {"regex": 7}}, "structured_outputs.regex", "a text is needed"),
        ({"structured_outputs": []}, "structured_outputs", ""),
        ({"guided_choice": []}, "guided_choice", "a list of texts"),
        ({"guided_choice": ["a"] * 2000}, "guided_choice", "1000"),
        ({"guided_choice": ["a\0b"]}, "guided_choice", ""),
        ({"guided_json": "no json"}, "guided_json", "JSON Schema"),
        ({"response_format": {"type": "regex"}}, "response_format.pattern", "a text is needed"),
        ({"response_format": {"type": "xml"}}, "response_format", "it takes"),
        ({"guided_regex": "a", "tools": [TOOL]}, "guided_regex", "tools"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_kept_is_refused_by_name(
    server: Server, fields: dict[str, Any], param: str, words: str
) -> None:
    error = asked(server, "/v1/chat/completions", **fields)
    assert isinstance(error, dict), error
    assert error["param"] == param
    assert words in error["message"]


def test_an_empty_field_holds_to_nothing(server: Server) -> None:
    free = {
        "guided_regex": None,
        "grammar": "",
        "structured_outputs": {},
        "response_format": {"type": "text"},
    }
    body = {"model": MODEL, "prompt": "Say:", "max_tokens": 4, **free}
    assert ask(server, "POST", "/v1/completions", body).json["usage"]["completion_tokens"] == 4


def test_half_a_character_is_refused(server: Server) -> None:
    assert "message" in asked(server, "/v1/completions", guided_regex="\ud800")
