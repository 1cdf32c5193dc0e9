"""Word wrap of text that comes in pieces."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.cli.plain import printable
from hutch.cli.wrap import Wrapper


def _screen(written: str) -> str:
    """What a terminal shows: the one escape sequence in use takes columns back."""
    lines = [""]
    for back, text in re.findall(r"\x1b\[(\d+)D\x1b\[K|([^\x1b])", written, re.DOTALL):
        if back:
            lines[-1] = lines[-1][: -int(back)]
        elif text == "\n":
            lines.append("")
        else:
            lines[-1] += text
    return "\n".join(line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one two three", "one two\nthree"),
        ("one two\nthree four", "one two\nthree four"),
        ("exactly10! more", "exactly10!\nmore"),
        ("a verylongwordindeed b", "a\nverylongwo\nrdindeed b"),
        ("a\n\nb", "a\n\nb"),
    ],
)
def test_breaks_between_words(text: str, shown: str) -> None:
    assert _screen(Wrapper(10).feed(text)) == shown


@given(st.lists(st.text(" ab\n", max_size=8)))
def test_pieces_do_not_matter(pieces: list[str]) -> None:
    by_piece = Wrapper(7)
    assert "".join(map(by_piece.feed, pieces)) == Wrapper(7).feed("".join(pieces))


@given(st.text(" abc\n"))
def test_loses_nothing_and_keeps_to_the_width(text: str) -> None:
    shown = _screen(Wrapper(7).feed(text))
    assert all(len(line) <= 7 for line in shown.split("\n"))
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", text)


def test_counts_wide_characters_twice() -> None:
    assert _screen(Wrapper(4).feed("漢字漢")) == "漢字\n漢"


def test_a_model_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x9bc\rd\n\te") == "a[2Jbcd\n\te"
