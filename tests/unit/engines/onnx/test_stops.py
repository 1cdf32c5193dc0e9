"""Stop strings: the automaton against a look at the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from hutch.engines.onnx.stops import Stops

WORDS = st.text("abc", min_size=1, max_size=4)


def first_stop(text: str, stops: list[str]) -> tuple[str, int]:
    """The stop that is complete first, the longest of several, and where it ends."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return max(found, key=len), end
    return "", len(text)


def longest_beginning(text: str, stops: list[str]) -> int:
    """How many of the last characters begin a stop."""
    sizes = range(min(len(text), max(map(len, stops), default=0)), 0, -1)
    return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in stops)), 0)


@given(st.lists(WORDS, max_size=4), st.lists(st.text("abcd", max_size=5), max_size=6))
def test_it_finds_what_a_look_at_the_whole_text_finds(stops: list[str], pieces: list[str]) -> None:
    automaton = Stops(stops)
    read = 0
    for index, piece in enumerate(pieces):
        text = "".join(pieces[: index + 1])
        found, num_read = automaton.feed(piece)
        read += num_read
        assert (found, read) == first_stop(text, stops)
        if found:
            return
        assert automaton.num_held == longest_beginning(text, stops)


def test_without_stops_nothing_is_held() -> None:
    automaton = Stops([])
    assert automaton.feed("anything") == ("", 8)
    assert automaton.num_held == 0


def test_many_long_stops_are_no_burden() -> None:
    stops = [f"{'a' * 1000}{index}" for index in range(64)]
    automaton = Stops(stops)
    assert automaton.feed("a" * 5000) == ("", 5000)
    assert automaton.num_held == 1000
    assert automaton.feed("17") == (stops[1], 1)
