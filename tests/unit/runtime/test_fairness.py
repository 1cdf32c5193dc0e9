"""Who goes next, who has to go, and when to come back: the decisions one by one."""

import pytest

from hutch.core.access import Allowance, Principal
from hutch.runtime.fairness import (
    Ticket,
    cost,
    displaced,
    lifted,
    may_hold,
    next_up,
    retry_after_s,
)
from hutch.runtime.promises import Promises


def who(name: str, begin_by: float | None = None, **allowance: float) -> Principal:
    return Principal(name, name, Allowance(**allowance), begin_by)  # type: ignore[arg-type]


A, B, C = who("a"), who("b"), who("c")


def line(*principals: Principal) -> list[Ticket]:
    return [Ticket(number, each) for number, each in enumerate(principals)]


@pytest.mark.parametrize(
    ("waiting", "counters", "held", "number"),
    [
        ((A, B), {}, {}, 0),
        ((A, B), {"a": 1.0}, {}, 1),
        ((A, A, B), {"a": 5.0, "b": 5.0}, {"a": 1}, 2),
        ((A, B), {"a": 5.0, "b": 5.1}, {"a": 1}, 1),
        ((A, B), {"a": 5.0, "b": 5000.0}, {"a": 1}, 0),
        ((A, who("b", priority=1)), {"b": 1e9}, {"b": 3}, 1),
        ((A, who("b", priority=-1)), {"a": 1e9}, {}, 0),
        ((A, who("a", 7.0), who("a", 3.0)), {}, {}, 2),
        ((A, who("b", 3.0)), {"b": 1.0}, {}, 0),
        ((who("a", weight=4.0), B), {"a": 5.0, "b": 5.0}, {"a": 2, "b": 1}, 0),
        ((A, B), {}, {"a": 4}, 1),
        ((A,), {}, {"a": 4}, None),
        ((), {}, {}, None),
    ],
)
def test_who_goes_next(
    waiting: tuple[Principal, ...], counters: dict[str, float], held: dict[str, int], number: int | None
) -> None:
    found = next_up(line(*waiting), counters, held, {"a": 4, "b": 4})
    assert (found and found.number) == number


@pytest.mark.parametrize(
    ("waiting", "newcomer", "number"),
    [
        ((), A, None),
        ((A,), A, None),
        ((A,), B, None),
        ((A, A), B, 1),
        ((A, A, B), C, 1),
        ((A, B, B, A, A), C, 4),
        ((A, A, B), B, None),
        ((who("a", weight=4.0),) * 3 + (B, B), C, 4),
        ((who("a", weight=4.0),) * 3 + (B,), C, None),
        ((A, A), who("b", weight=0.5), None),
        ((who("a", priority=-1), B, B), B, 0),
        ((who("a", priority=1),) * 3, B, None),
        ((A,), who("b", priority=1), 0),
    ],
)
def test_who_leaves_a_full_line(
    waiting: tuple[Principal, ...], newcomer: Principal, number: int | None
) -> None:
    found = displaced(line(*waiting), newcomer)
    assert (found and found.number) == number


@pytest.mark.parametrize(
    ("num_slots", "expected", "num"), [(1, True, 1), (2, True, 1), (4, True, 3), (4, False, 4), (1, False, 1)]
)
def test_a_slot_is_kept_for_others_where_there_are_two(num_slots: int, expected: bool, num: int) -> None:
    assert may_hold(num_slots, are_others_expected=expected) == num


@pytest.mark.parametrize(
    ("counter", "floor", "active", "result"),
    [
        (0.0, 0.0, (), (0.0, 0.0)),
        (0.0, 0.0, (9.0, 7.0), (7.0, 7.0)),
        (20.0, 0.0, (9.0, 7.0), (20.0, 7.0)),
        (0.0, 30.0, (), (30.0, 30.0)),
        (0.0, 8.0, (7.0,), (8.0, 8.0)),
    ],
)
def test_a_pause_saves_nothing_up(
    counter: float, floor: float, active: tuple[float, ...], result: tuple[float, float]
) -> None:
    assert lifted(counter, floor, active) == result


def test_what_is_written_costs_more_than_what_is_read_and_weight_less() -> None:
    assert cost(100, 0, 1.0) < cost(0, 100, 1.0)
    assert cost(100, 50, 2.0) == cost(100, 50, 1.0) / 2


def test_each_who_is_sent_away_gets_a_later_time_and_old_promises_are_forgotten() -> None:
    promises = Promises(10, 4)
    assert [promises.make(100.0, "a", 8.0) for _ in range(3)] == [102.0, 104.0, 106.0]
    assert promises.make(500.0, "a", 8.0) == 502.0
    assert [retry_after_s(100.0, at) for at in (100.0, 100.2, 101.0, 101.1, 50.0)] == [1, 1, 1, 2, 1]


def test_a_place_is_kept_for_whoever_was_told_to_come_and_for_nobody_else() -> None:
    promises = Promises(10, 4)
    for who in "ab":
        promises.make(100.0, who, 4.0)  # at 101 and 102
    assert promises.places_kept(90.0, 4.0) == 0  # by then whoever comes now has been served
    assert promises.places_kept(91.0, 4.0) == 1
    assert promises.places_kept(100.0, 4.0) == 2
    assert not promises.redeem(102.0, "c")
    assert not promises.redeem(101.5, "b")
    assert promises.redeem(102.0, "b")
    assert not promises.redeem(102.0, "b")
    assert promises.places_kept(102.0, 4.0) == 1
    assert promises.places_kept(110.0, 4.0) == 0  # whoever it was did not come
    assert not promises.redeem(110.0, "a")


def test_not_the_whole_line_is_kept() -> None:
    promises = Promises(10, 4)
    for number in range(50):
        promises.make(100.0, str(number), 1.0)
    assert promises.places_kept(101.0, 100.0) == 9
