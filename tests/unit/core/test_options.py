"""Options: their types, their ranges, and when they take effect."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.chat import LoadOptions, Sampling
from hutch.core.errors import BadInput
from hutch.core.options import (
    DEPRECATED,
    MAX_STOP_CHARS,
    MAX_STOPS,
    OPTION_TYPES,
    parse_option,
    split_options,
    typed_option,
)

NUMBERS = [name for name, kind in OPTION_TYPES.items() if kind in (int, float)]


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("num_ctx", 1, 1), ("num_ctx", 1 << 24, 1 << 24), ("num_ctx", 2048.0, 2048), ("num_gpu", -1, -1), ("num_thread", 0, 0),
        ("seed", -(1 << 63), -(1 << 63)), ("seed", (1 << 64) - 1, (1 << 64) - 1), ("num_predict", -2, -2), ("top_k", 0, 0), ("top_k", -1, -1),
        ("top_p", 0, 0.0), ("top_p", 1, 1.0), ("temperature", 0.7, 0.7), ("temperature", 100, 100.0), ("repeat_last_n", -1, -1),
        ("presence_penalty", -100, -100.0), ("use_mmap", True, True), ("use_mmap", False, False),
        ("stop", "a", ("a",)), ("stop", ["a", "b"], ("a", "b")), ("stop", [], ()), ("stop", ["", "a", ""], ("a",)),
        ("stop", ["x" * MAX_STOP_CHARS] * MAX_STOPS, ("x" * MAX_STOP_CHARS,) * MAX_STOPS),
    ],
)  # fmt: skip
def test_an_option_gets_its_own_type(name: str, value: object, result: object) -> None:
    typed = typed_option(name, value)
    assert typed == result
    assert type(typed) is type(result)


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("num_ctx", 0, "between 1 and"), ("num_ctx", (1 << 24) + 1, "between 1 and"), ("num_ctx", 10**400, "between 1 and"),
        ("num_ctx", -(10**400), "between 1 and"), ("num_batch", 0, "between 1 and 65536"), ("num_gpu", -2, "between -1 and"),
        ("main_gpu", -1, "between 0 and 255"), ("num_thread", 1025, "between 0 and 1024"), ("num_predict", -3, "between -2 and"),
        ("seed", 1 << 64, "between"), ("seed", -(1 << 63) - 1, "between"), ("top_k", -2, "between -1 and"),
        ("top_p", 1.01, "between 0 and 1"), ("top_p", -0.01, "between 0 and 1"), ("min_p", 2, "between 0 and 1"),
        ("temperature", -1, "between 0 and 100"), ("temperature", math.inf, "between 0 and 100"), ("repeat_last_n", -2, "between -1"),
        ("presence_penalty", 101, "between -100 and 100"), ("frequency_penalty", -101, "between -100 and 100"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_with_the_range(name: str, value: object, limits: str) -> None:
    with pytest.raises(BadInput, match=limits) as caught:
        typed_option(name, value)
    assert f'"{name}"' in caught.value.message


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, True, "1", None, [1], {}])
def test_no_number_option_takes_what_is_no_number_in_range(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=f'option "{name}" must be'):
        typed_option(name, value)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("num_ctx", "4096", "integer"), ("temperature", "hot", "number"), ("temperature", False, "number"), ("use_mmap", 1, "boolean"),
        ("use_mmap", "true", "boolean"), ("stop", 5, "array of strings"), ("stop", [5], "array of strings"),
        ("stop", {"a": "b"}, "array of strings"), ("stop", [["a"]], "array of strings"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_refused_with_the_right_one(name: str, value: object, word: str) -> None:
    with pytest.raises(BadInput) as caught:
        typed_option(name, value)
    assert caught.value.message == f'option "{name}" must be of type {word}'


@pytest.mark.parametrize("stops", [["a"] * (MAX_STOPS + 1), ["x" * (MAX_STOP_CHARS + 1)]])
def test_stops_are_few_and_short(stops: list[str]) -> None:
    with pytest.raises(BadInput, match="at most 64 texts of 1024 characters"):
        typed_option("stop", stops)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("num_ctx", "4096", 4096), ("temperature", "0.5", 0.5), ("temperature", "1", 1.0), ("seed", "-1", -1),
        ("use_mmap", "true", True), ("use_mmap", "T", True), ("use_mmap", "1", True), ("use_mmap", "False", False),
        ("use_mmap", "0", False), ("use_mmap", "f", False), ("stop", "<|end|>", ["<|end|>"]), ("stop", "a b", ["a b"]),
    ],
)  # fmt: skip
def test_a_parameter_line_gives_a_typed_value(name: str, text: str, value: object) -> None:
    assert parse_option(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("colour", "1", "unknown parameter 'colour'"), ("num_ctx", "x", "invalid int value [x]"),
        ("num_ctx", "1.5", "invalid int value [1.5]"), ("num_ctx", "", "invalid int value []"), ("num_ctx", "1_0", "invalid int value [1_0]"),
        ("num_ctx", "٣", "invalid int value [٣]"), ("temperature", "0_1", "invalid float value [0_1]"),
        ("temperature", "hot", "invalid float value [hot]"), ("use_mmap", "maybe", "invalid bool value [maybe]"),
        ("num_ctx", "0", 'option "num_ctx" must be between 1 and 16777216'),
        ("temperature", "nan", 'option "temperature" must be between 0 and 100'),
    ],
)  # fmt: skip
def test_a_bad_parameter_line_is_refused_in_ollamas_words(name: str, text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_option(name, text)
    assert caught.value.message == message


@pytest.mark.parametrize("digits", [400, 4000, 5000])
def test_a_parameter_of_very_many_digits_is_refused(digits: int) -> None:
    with pytest.raises(BadInput):
        parse_option("seed", "9" * digits)


def test_options_are_sorted_by_when_they_take_effect() -> None:
    sampling, load = split_options(
        {"num_ctx": 99, "use_mmap": False, "temperature": 0, "num_predict": 5, "stop": "x", "top_k": None}
    )
    assert sampling == Sampling(temperature=0.0, max_tokens=5, stop=("x",))
    assert load == LoadOptions(num_ctx=99, use_mmap=False)


@pytest.mark.parametrize("name", [*sorted(DEPRECATED), "colour", ""])
def test_unknown_and_deprecated_options_are_passed_over(name: str) -> None:
    assert split_options({name: {"any": "thing"}}) == (Sampling(), LoadOptions())


@pytest.mark.parametrize(
    ("seed", "kept"), [(-1, -1), (-7, -7), (0, 0), (7, 7), (1 << 32, 0), ((1 << 64) - 1, (1 << 32) - 1)]
)
def test_a_seed_is_cut_to_what_the_engine_has(seed: int, kept: int) -> None:
    assert split_options({"seed": seed})[0].seed == kept


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(OPTION_TYPES)), ANYTHING))
def test_any_options_are_understood_or_refused(options: dict[str, Any]) -> None:
    try:
        sampling, load = split_options(options)
    except BadInput:
        return
    for value in (sampling.temperature, sampling.top_p, load.num_ctx):
        assert value is None or math.isfinite(value)


def test_what_is_said_above_hides_what_is_said_below() -> None:
    above, below = Sampling(temperature=0.0, stop=()), Sampling(temperature=1.0, stop=("x",), top_k=3)
    assert above.over(below) == Sampling(temperature=0.0, stop=(), top_k=3)
    assert LoadOptions(use_mmap=False).over(LoadOptions(use_mmap=True, num_ctx=8)) == LoadOptions(
        use_mmap=False, num_ctx=8
    )
