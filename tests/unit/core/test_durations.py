"""Durations and keep_alive."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.durations import FOREVER, format_duration, parse_duration_s, parse_keep_alive_s
from hutch.core.errors import BadInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("-0", 0), ("0s", 0), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("+5s", 5), ("-1m", -60), (".5s", 0.5),
        ("1.s", 1), ("300ms", 0.3), ("20us", 2e-5), ("20µs", 2e-5), ("20μs", 2e-5), ("7ns", 7e-9), ("1h2m3s4ms", 3723.004),
        ("24h", 86400), ("-1.5h", -5400), ("1s1h", 3601),
    ],
)  # fmt: skip
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["300", "1.5", "-1", "+7", ".5", "3."])
def test_a_number_alone_lacks_its_unit(text: str) -> None:
    with pytest.raises(BadInput, match="missing unit in duration") as caught:
        parse_duration_s(text)
    assert caught.value.message == f'time: missing unit in duration "{text}"'


@pytest.mark.parametrize(
    "text",
    ["", "s", ".", "-", "+", "--5m", "+-5m", "5 m", " 5m", "5m ", "5m\n", "5x", "5d", "5M", "1e3s", "m5", "5m-3s", "٣s", "inf", "nan", "5mm", ".s"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_in_gos_words(text: str) -> None:
    with pytest.raises(BadInput, match="invalid duration"):
        parse_duration_s(text)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("text", ["1" * 1_000_000, "1" * 1_000_000 + "x", "1m" * 500_000, "." * 1_000_000])
def test_a_long_text_is_refused_at_once(text: str) -> None:
    with pytest.raises(BadInput, match="too long") as caught:
        parse_duration_s(text)
    assert len(caught.value.message) < 100


@given(st.text(alphabet="0123456789.hmsun+-µx", max_size=120))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert math.isfinite(parse_duration_s(text))
    except BadInput:
        return


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), (0, 0), (0.0, 0), ("0", 0), ("0s", 0), (300, 300), (0.5, 0.5), ("5m", 300), ("1h30m", 5400),
        (-1, FOREVER), (-0.5, FOREVER), ("-1m", FOREVER), ("-1s", FOREVER), (math.inf, FOREVER), (-math.inf, FOREVER),
        (10**400, FOREVER), (-(10**400), FOREVER),
    ],
)  # fmt: skip
def test_keep_alive_is_a_number_of_seconds_a_duration_or_forever(
    value: object, seconds: float | None
) -> None:
    assert parse_keep_alive_s(value) == seconds


@pytest.mark.parametrize("value", [True, False, {}, [], ["5m"], {"s": 5}, b"5m"])
def test_a_keep_alive_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="Unsupported type"):
        parse_keep_alive_s(value)


@pytest.mark.parametrize("value", ["300", "-1", "five", "", math.nan])
def test_a_keep_alive_that_means_nothing_is_refused(value: object) -> None:
    with pytest.raises(BadInput):
        parse_keep_alive_s(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (30, "30s"),
        (60, "1m0s"),
        (300, "5m0s"),
        (5400, "1h30m0s"),
        (3600, "1h0m0s"),
        (89.6, "1m30s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert parse_duration_s(text) == round(seconds)
