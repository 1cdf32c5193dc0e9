"""Calls of tools in Python, found while the answer is written: also in one that is written to keep its reader busy."""

import time

import pytest

from hutch.core.chat import Chunk, ToolCall
from hutch.prompt.answer import Marks, Reader

TOOLS = frozenset(("f", "get_weather"))


def calls(text: str, size: int) -> list[tuple[str, str]]:
    """The calls in an answer that comes in pieces of so many characters."""
    reader = Reader(Marks(tools=TOOLS, marker="<tool>", has_python=True, is_streamed=True), "")
    found: list[ToolCall] = []
    for at in range(0, len(text), size):
        found += reader.feed(Chunk(text=text[at : at + size])).tool_calls
    found += reader.end(Chunk()).tool_calls
    return [(call.name, call.arguments) for call in found]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ('get_weather(city="Bern")', [("get_weather", '{"city": "Bern"}')]),
        ("print(get_weather.call(city='a)'))", [("get_weather", '{"city": "a)"}')]),
        ("[f(x=\"\\\")(\"), f(y='''a\")'b''')]", [("f", '{"x": "\\")("}'), ("f", '{"y": "a\\")\'b"}')]),
        ('a = f(x="", y=(1, [2]))\nf()', [("f", '{"x": "", "y": [1, [2]]}'), ("f", "{}")]),
        ('f(x="""a""\\"""")', [("f", '{"x": "a\\"\\"\\""}')]),
        ("f(x=1", []),
        ("f(x=))", []),
        ("other(x=1)", []),
        ("f(1)", []),
    ],
)
def test_calls_are_found_however_the_text_is_cut(code: str, wanted: list[tuple[str, str]], size: int) -> None:
    assert calls(f"<tool>{code}", size) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "f(" + ")" * 20_000,
        "f(" + "()" * 10_000,
        'f("' + ")" * 20_000,
        'f("""' + '"")' * 7_000,
        "f(" + "'\\')" * 5_000,
        "other(" + ")" * 20_000,
        "f(x=" + "[" * 10_000 + ")" * 10_000,
        "f(" + "x=1," * 5_000 + ")" * 1_000,
        " " * 10_000 + ")" * 10_000,
        "a" * 10_000 + ")" * 10_000,
    ],
)
def test_a_hostile_answer_is_read_in_no_time(text: str) -> None:
    began_s = time.process_time()
    calls(f"<tool>{text}", 1)
    assert time.process_time() - began_s < 1
