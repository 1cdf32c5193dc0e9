"""How often a pattern may repeat what."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.api.limits import checked_form
from hutch.core.errors import BadInput


@pytest.mark.parametrize(
    "text",
    [
        r"(19|20)\d{2}-[01]\d",
        "(a{100}){100}",
        "a{1000}b{1000}(c{1000})",
        "[a{2000}]",
        r"x\{5000\}",
        "a{,5}",
        "{}{,}",
        "))))((((",
        '"a"{1,3} ("b"{50}){20}',
        "a{0}{0001000}",
    ],
)
def test_what_repeats_little_is_taken(text: str) -> None:
    assert checked_form(text, "p") == text


@pytest.mark.parametrize(
    "text",
    [
        "a{1001}",
        "a{2,5000}",
        "a{1000}{1000}",
        "((a{500})b{3}){500}",
        "((a{11}){10}x{1}){100}",
        "a{" + "9" * 5000 + "}",
    ],
)
def test_what_repeats_too_often_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"repeats more than 1000|more than 10000") as refusal:
        checked_form(text, "p")
    assert refusal.value.param == "p"


@pytest.mark.parametrize("unit", ["[", "[\\]", "a[", "{1", "\\["])
def test_the_longest_form_is_looked_at_in_one_pass(unit: str) -> None:
    text = (unit * (64 << 10))[: 64 << 10]
    began = time.process_time()
    assert checked_form(text, "p") == text
    assert time.process_time() - began < 2.0  # a look at every end from every bracket takes a minute


def test_behind_a_bracket_that_never_ends_repetitions_count() -> None:
    with pytest.raises(BadInput, match="repeats more than 1000"):
        checked_form("[ab{1001}", "p")


@given(st.text(st.sampled_from("(){}[]\\,0123456789ab\n"), min_size=1))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        assert checked_form(text, "p") == text
    except BadInput as error:
        assert error.param == "p"  # noqa: PT017  # either is right
