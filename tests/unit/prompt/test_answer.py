"""Answers taken apart while they come, in pieces of any size."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.chat import Chunk, Usage
from hutch.prompt.answer import Marks, Reader

TOOLS = frozenset(("weather", "get_weather", "clock"))
THINK = ("<think>", "</think>")
LAST = Chunk(finish_reason="stop", usage=Usage())
BERN = ("weather", {"city": "Bern"})
CLOCK: tuple[str, dict[str, object]] = ("clock", {})


def read(
    pieces: list[str], marks: Marks, prompt: str = ""
) -> tuple[str, str, list[tuple[str, object]], str | None]:
    """What is thought, said and called in an answer, and why it ended."""
    reader = Reader(marks, prompt)
    chunks = [reader.feed(Chunk(text=piece)) for piece in pieces]
    chunks.append(reader.end(LAST))
    calls = [call for chunk in chunks for call in chunk.tool_calls]
    assert [call.index for call in calls] == list(range(len(calls)))
    assert len({call.id for call in calls}) == len(calls)
    return (
        "".join(chunk.thinking for chunk in chunks),
        "".join(chunk.text for chunk in chunks),
        [(call.name, json.loads(call.arguments)) for call in calls],
        chunks[-1].finish_reason,
    )


def everyhow(
    text: str, marks: Marks, prompt: str = ""
) -> tuple[str, str, list[tuple[str, object]], str | None]:
    """What `read` finds, whether the answer comes whole, letter by letter or in threes."""
    found = read([text], marks, prompt)
    for size in (1, 3):
        assert read([text[i : i + size] for i in range(0, len(text), size)], marks, prompt) == found
    return found


@pytest.mark.parametrize(
    ("text", "thinking", "said"),
    [
        ("", "", ""),
        ("plain", "", "plain"),
        ("  plain ", "", "  plain "),
        ("<think>Hm.</think>Yes", "Hm.", "Yes"),
        (" \n<think>\nHm. \n</think>\n\n Yes \n", "Hm. \n", "Yes \n"),
        ("<think></think>Yes", "", "Yes"),
        ("<think>a < b </thin </think>x</think>", "a < b </thin ", "x</think>"),
        ("<think>without an end </thi", "without an end </thi", ""),
        ("<thin", "", "<thin"),
        ("<thinking>", "", "<thinking>"),
        ("said <think>no thought</think>", "", "said <think>no thought</think>"),
        ("<think>", "", ""),
    ],
)
def test_thoughts_stand_between_tags_at_the_beginning(text: str, thinking: str, said: str) -> None:
    assert everyhow(text, Marks(THINK)) == (thinking, said, [], "stop")


def test_a_prompt_may_begin_the_thoughts() -> None:
    assert everyhow("Hm.</think>\nYes", Marks(THINK), "…<think>\n")[:2] == ("Hm.", "Yes")


@pytest.mark.parametrize(
    ("marker", "text", "said", "calls"),
    [
        ("<tool_call>", '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>', "", [BERN]),
        ("<tool_call>", 'I look.\n<tool_call>{"name":"weather","parameters":{"city":"Bern"}}</tool_call>\n<tool_call>{"name":"clock"}</tool_call>', "I look.\n", [BERN, CLOCK]),
        ("<tool_call>", '<tool_call>{"name":"weather","arguments":"{\\"city\\": \\"Bern\\"}"}</tool_call> Done!', "Done!", [BERN]),
        ("[TOOL_CALLS] [", '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Bern"}}, {"name": "clock", "arguments": {}}]', "", [BERN, CLOCK]),
        ("[TOOL_CALLS] [", '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Bern"}}]</s>', "", [BERN]),
        ("[TOOL_CALLS]", '[TOOL_CALLS]weather{"city": "Bern"}[TOOL_CALLS]clock{}', "", [BERN, CLOCK]),
        ("<f>", '<f>get_weather {"city": "Bern"}</f>', "", [("get_weather", {"city": "Bern"})]),
        ("Action: ```json\n[", 'Action: ```json\n[\n {"tool_name": "weather", "parameters": {"city": "Bern"}}\n]```', "", [BERN]),
        ("{", '{"name": "weather", "parameters": {"city": "Bern"}}', "", [BERN]),
        ("{", ' \n[{"name": "weather", "parameters": {"city": "Bern"}}]', "", [BERN]),
        ("{", '{"weather": {"city": "Bern"}}', "", [BERN]),
        ("{", '{"tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Bern"}}}]}', "", [BERN]),
        ("{", 'Say {"name": "weather", "parameters": {"city": "Bern"}}', 'Say {"name": "weather", "parameters": {"city": "Bern"}}', []),
        ("{", '{"answer": 42} and more', '{"answer": 42} and more', []),
        ("{", '{"name": "unknown", "parameters": {}}', '{"name": "unknown", "parameters": {}}', []),
        ("{", "[1, 2]", "[1, 2]", []),
        ("{", " ", " ", []),
        ("<tool_call>", "no call <tool> at <", "no call <tool> at <", []),
        ("<tool_call>", "<tool_call>{broken", "<tool_call>{broken", []),
        ("<tool_call>", '<tool_call>{"name": "unknown"}</tool_call>', '<tool_call>{"name": "unknown"}</tool_call>', []),
        ("<tool_call>", "<tool_call>" + '{"a":' * 3000 + "1" + "}" * 3000, None, []),
        ("<tool_call>", '<tool_call>{"name":"weather","arguments":7}', "", [("weather", {})]),
        ("<tool_call>", '<tool_call>{"name":"weather","arguments":"{"}', "", [("weather", {})]),
    ],
)  # fmt: skip
def test_calls_of_tools_are_found_behind_the_marker(
    marker: str, text: str, said: str | None, calls: list[tuple[str, object]]
) -> None:
    found = (
        everyhow(text, Marks(tools=TOOLS, marker=marker))
        if said is not None
        else read([text], Marks(tools=TOOLS, marker=marker))
    )
    assert found == ("", text if said is None else said, calls, "tool_calls" if calls else "stop")


def test_the_order_and_the_letters_of_arguments_are_kept() -> None:
    reader = Reader(Marks(tools=TOOLS), "")
    [call] = reader.feed(Chunk(text='{"name":"clock","arguments":{"z":"é","a":[1.50]}}')).tool_calls
    assert call.arguments == '{"z": "é", "a": [1.5]}'


def test_no_more_calls_than_are_wanted() -> None:
    text = '<t>{"name":"clock"}<t>{"name":"weather"}'
    assert everyhow(text, Marks(tools=TOOLS, marker="<t>", max_calls=1))[2] == [CLOCK]


def test_thoughts_come_before_calls() -> None:
    marks = Marks(THINK, TOOLS, "<tool_call>")
    text = (
        '<think>{"name":"clock"}</think>\nOne moment.\n<tool_call>{"name":"clock","arguments":{}}</tool_call>'
    )
    assert everyhow(text, marks) == ('{"name":"clock"}', "One moment.\n", [CLOCK], "tool_calls")
    assert marks.tokens == ["<think>", "</think>", "<tool_call>"]
    assert Marks(tools=TOOLS).tokens == []


def test_an_answer_that_was_cut_off_says_so() -> None:
    reader = Reader(Marks(tools=TOOLS), "")
    reader.feed(Chunk(text='{"name":"clock"}'))
    assert reader.end(Chunk(finish_reason="length")).finish_reason == "length"


@pytest.mark.parametrize("marker", ["<tool_call>", "[TOOL_CALLS] ["])
def test_what_can_be_no_mark_passes_at_once(marker: str) -> None:
    reader = Reader(Marks(THINK, TOOLS, marker), "")
    for piece in ("Hello", " wor", "ld! a ", "b"):
        assert reader.feed(Chunk(text=piece)).text == piece
    assert reader.feed(Chunk(text=f"c{marker[0]}")).text == "c"
    assert reader.feed(Chunk(text="d")).text == f"{marker[0]}d"


PIECES = st.lists(
    st.sampled_from(("<think>", "</think>", "<t>", "<", "{", "}", '"name"', ":", '"clock"', "a", " ", "\n")),
    max_size=12,
)


@given(PIECES, st.integers(1, 4))
def test_it_is_all_one_how_an_answer_is_cut(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    marks = Marks(THINK, TOOLS, "<t>")
    assert read([text], marks) == read([text[i : i + size] for i in range(0, len(text), size)], marks)


@given(st.text(alphabet="ab<>{} \n", max_size=30))
def test_without_marks_in_it_nothing_is_lost(text: str) -> None:
    assert read([text], Marks(tools=TOOLS, marker="[T]"))[1] == text
    assert read([text], Marks(tools=TOOLS))[1] == text
