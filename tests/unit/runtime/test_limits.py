"""Limits a minute: never more than that in any minute, and room when that was said."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.access import Allowance, Principal
from hutch.core.chat import Usage
from hutch.core.errors import OverLimit
from hutch.core.names import ModelName
from hutch.runtime.ledger import Ledger
from hutch.runtime.limits import SPAN_S, Window

MODEL = ModelName.parse("m")


@given(
    limit=st.integers(1, 20),
    asked=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 30)), max_size=60),
)
def test_no_minute_has_more_than_the_limit_and_the_wait_is_exact(
    limit: int, asked: list[tuple[float, int]]
) -> None:
    window, now = Window(), 0.0
    taken: list[tuple[float, float]] = []
    for after_s, amount in asked:
        now += after_s
        wait_s = window.wait_s(now, amount, limit)
        if wait_s:
            if wait_s > 0.001:
                assert window.wait_s(now, amount, limit) > 0
            now += wait_s + 1e-6
            assert window.wait_s(now, amount, limit) == 0  # it came true
        window.take(now, min(amount, limit))
        taken.append((now, min(amount, limit)))
        recent = sum(each for when, each in taken if now - when < SPAN_S)
        assert recent <= limit


def test_what_was_set_aside_too_much_is_given_back() -> None:
    window = Window()
    taking = window.take(0.0, 90)
    assert window.wait_s(1.0, 20, 100) > 0
    window.settle(2.0, taking, 10)
    assert window.wait_s(2.0, 20, 100) == 0
    window.settle(3.0, taking, 95)
    assert window.used(3.0) == 95
    assert window.used(59.9) == 95
    assert window.used(60.1) == 85  # what came later counts for longer
    assert window.used(63.1) == 0


class Clock:
    """The time, as a test has it."""

    now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def test_requests_over_the_limit_are_told_when_to_come_back_and_then_let_in() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    who = Principal("a", "a", Allowance(requests_per_minute=2))
    for _ in range(2):
        with ledger.spending(who, MODEL, 10):
            clock.now += 5
    with pytest.raises(OverLimit) as caught, ledger.spending(who, MODEL, 10):
        pass
    assert (caught.value.http_status, caught.value.retry_after_s) == (429, 50)
    clock.now += caught.value.retry_after_s
    with ledger.spending(who, MODEL, 10):
        pass
    assert ledger.account(who).num_refused == 1


def test_tokens_are_set_aside_before_and_counted_after() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    who = Principal("a", "a", Allowance(tokens_per_minute=100))
    with ledger.spending(who, MODEL, 60) as spending:
        with pytest.raises(OverLimit), ledger.spending(who, MODEL, 60):
            pass
        for _ in range(5):
            spending.piece()
        spending.ended(Usage(prompt_tokens=20, completion_tokens=6, cached_tokens=15))
    account = ledger.account(who)
    assert (account.prompt_tokens, account.completion_tokens) == (20, 6)
    assert account.tokens.used(clock.now) == 26
    assert account.counter == 5 + 4 * 6
    with ledger.spending(who, MODEL, 60):
        pass


def test_a_request_larger_than_the_limit_gets_an_empty_minute() -> None:
    ledger = Ledger(Clock())
    who = Principal("a", "a", Allowance(tokens_per_minute=10))
    with ledger.spending(who, MODEL, 5000), pytest.raises(OverLimit), ledger.spending(who, MODEL, 1):
        pass


def test_a_request_that_took_nothing_gives_back_what_was_set_aside_and_still_was_one() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    who = Principal("a", "a", Allowance(tokens_per_minute=100, requests_per_minute=9))
    with pytest.raises(ZeroDivisionError), ledger.spending(who, MODEL, 80):
        raise ZeroDivisionError
    assert ledger.account(who).tokens.used(0.0) == 0
    assert ledger.account(who).requests.used(0.0) == 1


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    clock, chance = Clock(), random.Random(1)
    ledger = Ledger(clock)
    who = Principal("a")
    with ledger.spending(who, MODEL, 1) as spending:
        for _ in range(3000):
            clock.now += chance.random() / 50
            spending.piece()
    assert ledger.tokens_per_s(MODEL) == pytest.approx(100, rel=0.1)
    clock.now += 60
    assert ledger.tokens_per_s(MODEL) == 0
    assert ledger.tokens_per_s(ModelName.parse("unknown")) == 0
