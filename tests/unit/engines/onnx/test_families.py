"""Families of models: who is who, and what their recorded answers mean, wherever they are cut."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.chat import Chunk
from hutch.engines.onnx.chat import delta
from hutch.engines.onnx.families import FAMILIES, OTHERS, Family, family_of, thinking_of
from hutch.prompt.answer import Marks, Reader

RECORDED = json.loads((Path(__file__).parents[3] / "data" / "tool_answers.json").read_text(encoding="utf-8"))
TOOLS = frozenset(("get_weather", "get_time"))


def marks_of(family: Family, template: str) -> Marks:
    """What answers of a family are taken apart by."""
    marker, *others = family.markers
    return Marks(thinking_of(template), TOOLS, marker, None, tuple(others), True, family.has_python)


def read(pieces: Iterable[str], marks: Marks, prompt: str) -> dict[str, Any]:
    """A message, put together from the events as a client does it."""
    reader = Reader(marks, prompt)
    chunks = [*(reader.feed(Chunk(text=piece)) for piece in pieces), reader.end(Chunk(finish_reason="stop"))]
    message: dict[str, Any] = {"thinking": "", "content": "", "calls": []}
    for event in map(delta, chunks):
        message["thinking"] += event.get("reasoning_content", "")
        message["content"] += event.get("content", "")
        for call in event.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(message["calls"])
                message["calls"].append([call["function"]["name"], ""])
            message["calls"][call["index"]][1] += call["function"]["arguments"]
    message["calls"] = [[name, json.loads(arguments)] for name, arguments in message["calls"]]
    message["reason"] = chunks[-1].finish_reason
    return message


@pytest.mark.parametrize("answer", RECORDED, ids=lambda each: f"{each['family']}: {each['text'][:24]!r}")
def test_recorded_answers_are_understood_wherever_they_are_cut(answer: dict[str, Any]) -> None:
    family = family_of(answer["template"], lambda _: False)
    assert family.name == answer["family"]
    marks, text, prompt = marks_of(family, answer["template"]), answer["text"], answer["prompt"]
    wanted = {key: answer[key] for key in ("thinking", "content", "calls")}
    wanted["reason"] = "tool_calls" if answer["calls"] else "stop"
    assert read([text], marks, prompt) == wanted
    assert read(text, marks, prompt) == wanted
    for at in range(len(text)):
        assert read([text[:at], text[at:]], marks, prompt) == wanted, at


def test_every_family_has_recorded_answers() -> None:
    assert {each["family"] for each in RECORDED} == {family.name for family in FAMILIES}


@pytest.mark.parametrize("family", [*FAMILIES, OTHERS], ids=lambda each: each.name)
def test_what_a_family_writes_is_what_is_read(family: Family) -> None:
    calls = [("get_weather", {"city": "Bern", "n": [1, {"a": "}"}]}), ("get_time", {})]
    if family.form.is_single:
        calls = calls[:1]
    message = read(family.form.write(calls), marks_of(family, ""), "")
    assert (message["content"], message["calls"]) == ("", [list(call) for call in calls])


def test_a_vocabulary_tells_where_the_template_does_not() -> None:
    assert family_of("{{ messages }}", lambda name: name == "[TOOL_CALLS]").name == "Mistral"
    assert family_of("{{ messages }}", lambda _: False) is OTHERS


@pytest.mark.parametrize(
    ("template", "tags"),
    [
        ("… <think>\\n …", ("<think>", "</think>")),
        ("{% if enable_thinking %}", ("<think>", "</think>")),
        ("[THINK]", ("[THINK]", "[/THINK]")),
        ("plain", None),
    ],
)
def test_a_template_shows_whether_a_model_thinks(template: str, tags: tuple[str, str] | None) -> None:
    assert thinking_of(template) == tags


def test_arguments_come_while_they_are_written() -> None:
    reader = Reader(marks_of(family_of("<tool_call>", lambda _: False), ""), "")
    said = [
        reader.feed(Chunk(text=piece))
        for piece in ('<tool_call>{"name": "get_weather", "arg', 'uments": {"ci', 'ty": "Be', 'rn"}', "}")
    ]
    pieces = [[(call.name, call.arguments) for call in chunk.tool_calls] for chunk in said]
    assert pieces == [[], [("get_weather", ""), ("", '{"ci')], [("", 'ty": "Be')], [("", 'rn"}')], []]


def test_no_more_calls_are_begun_than_are_wanted() -> None:
    marks = Marks(None, TOOLS, "<tool_call>", 1, (), True)
    text = '<tool_call>{"name": "get_time", "arguments": {}}<tool_call>{"name": "get_weather", "arguments": {"a": 1}}'
    assert read(text, marks, "")["calls"] == [["get_time", {}]]


FRAGMENTS = [
    *("{", "}", "[", "]", "(", ")", '"', ":", ",", " ", "\n", "a", "=", "1", "'", "\\"),
    *('"name": "get_time"', '"arguments": ', '"parameters": ', "get_time", "get_weather(", "a=1)", "print("),
    *(
        '{"name": "get_time", "arguments": {',
        '{"name": "nope", "arguments": {',
        "```",
        "</think>",
        "<think>",
        "functools",
    ),
]


@given(st.data())
def test_it_is_all_one_how_any_answer_is_cut(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from([*FAMILIES, OTHERS]))
    fragments = [*FRAGMENTS, *family.markers, *family.form.tags, family.form.opens]
    pieces = data.draw(st.lists(st.sampled_from(fragments), max_size=14))
    text = "".join(pieces)
    marks = marks_of(family, data.draw(st.sampled_from(["", "<think>"])))

    def found(pieces: Iterable[str]) -> tuple[str, str, list[list[str]]]:
        reader = Reader(marks, "")
        chunks = [
            *(reader.feed(Chunk(text=piece)) for piece in pieces),
            reader.end(Chunk(finish_reason="stop")),
        ]
        calls: list[list[str]] = []
        for call in (call for chunk in chunks for call in chunk.tool_calls):
            if call.name:
                calls.append([call.name, ""])
            calls[call.index][1] += call.arguments
        return "".join(c.thinking for c in chunks), "".join(c.text for c in chunks), calls

    assert found(text) == found([text]) == found(pieces)
