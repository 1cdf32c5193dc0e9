"""Slots: who gets which, and that none is ever lost."""

import asyncio
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.access import ANONYMOUS, Allowance, Principal
from hutch.core.errors import Busy, TooLate
from hutch.runtime.fairness import EXPECTED_S, cost
from hutch.runtime.ledger import Ledger
from hutch.runtime.slots import Lease, Slot, SlotPool, choose, common_prefix_length

ALICE, BOB = Principal("alice"), Principal("bob")


@pytest.mark.parametrize(
    ("slots", "prompt", "index"),
    [
        ([Slot(0), Slot(1)], "hello", 0),
        ([Slot(0, None, "", 5), Slot(1, None, "", 2)], "hello", 1),
        ([Slot(0, ALICE, "hello you", 1), Slot(1, ALICE, "hello", 9)], "hello you all", 0),
        ([Slot(0, ALICE, "hell", 1), Slot(1, ALICE, "hello", 9)], "hello", 1),
        ([Slot(0, ALICE, "xyz", 9), Slot(1, BOB, "hello", 1)], "hello", 1),
        ([Slot(0, BOB, "hello", 9), Slot(1, None, "hello", 1)], "hello", 1),
        ([Slot(0, BOB, "hello", 9), Slot(1, ALICE, "hello", 8)], "hello", 1),
        ([Slot(0, ALICE, "h" + "x" * 99, 9), Slot(1, BOB, "", 1)], "h" * 10 + "y" * 90, 1),
        ([Slot(0, ALICE, "h" * 11, 9), Slot(1, BOB, "", 1)], "h" * 20 + "y" * 80, 0),
        ([Slot(0, ALICE, "", 4), Slot(1, ALICE, "", 3)], "", 1),
    ],
)
def test_the_slot_with_most_of_the_prompt_else_the_one_used_longest_ago(
    slots: list[Slot], prompt: str, index: int
) -> None:
    assert choose(slots, ALICE, prompt).index == index


@pytest.mark.parametrize(("elsewhere", "index"), [(0, 1), (4, 1), (5, 0), (9, 0)])
def test_a_slot_that_holds_less_than_can_be_had_elsewhere_counts_as_any_other(
    elsewhere: int, index: int
) -> None:
    slots = [Slot(0, BOB, "", 1), Slot(1, ALICE, "hello", 9)]
    assert choose(slots, ALICE, "hello you", elsewhere).index == index


def test_what_slots_hold_is_told_newest_first_and_without_what_is_nobodys() -> None:
    async def scenario() -> None:
        pool = SlotPool(4, 9)
        async with pool.lease(ALICE, "a"):
            async with pool.lease(ALICE, "b"), pool.lease(BOB, "c"):
                pass
            assert [slot.prompt for slot in pool.held] == ["c", "b"]
        assert [slot.prompt for slot in pool.held] == ["c", "b", "a"]
        pool.forget()
        assert pool.held == []

    asyncio.run(scenario())


@given(st.text("ab", max_size=20), st.text("ab", max_size=20), st.text("abc", max_size=20))
def test_the_common_prefix_is_the_longest_one(prefix: str, one: str, other: str) -> None:
    a, b = prefix + one, prefix + other
    length = common_prefix_length(a, b)
    assert length >= len(prefix)
    assert a[:length] == b[:length]
    assert a[length : length + 1] != b[length : length + 1] or length == len(a) == len(b)


class Clock:
    """The time, as a test has it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Now."""
        return self.now


async def all_free(pool: SlotPool, num_slots: int) -> bool:
    """Whether every slot can be had at once; the pool must be one that lets nobody wait."""
    pool._asked.clear()  # nobody else is expected
    holders = [pool.lease(ANONYMOUS, "") for _ in range(num_slots)]
    leases = [await holder.__aenter__() for holder in holders]
    for holder in holders:
        await holder.__aexit__(None, None, None)
    return {lease.index for lease in leases} == set(range(num_slots)) and not pool.num_busy


def test_slots_are_counted_and_come_back() -> None:
    async def scenario() -> None:
        pool = SlotPool(2, 0)
        async with pool.lease(ALICE, "a") as first, pool.lease(BOB, "b") as second:
            assert {first, second} == {Lease(0, reuse=False), Lease(1, reuse=False)}
            assert (pool.num_busy, pool.num_queued) == (2, 0)
        assert await all_free(pool, 2)

    asyncio.run(scenario())


def test_a_slot_is_reused_by_its_owner_alone() -> None:
    async def scenario() -> list[bool]:
        pool = SlotPool(1, 0)
        reused = []
        for who in (ALICE, ALICE, BOB, BOB, ALICE):
            async with pool.lease(who, "the same prompt") as lease:
                reused.append(lease.reuse)
        return reused

    assert asyncio.run(scenario()) == [False, True, False, True, False]


def test_forgotten_slots_are_reused_by_nobody() -> None:
    async def scenario() -> None:
        pool = SlotPool(1, 0)
        async with pool.lease(ALICE, "p"):
            pool.forget()  # also while a request holds it
        async with pool.lease(ALICE, "p") as lease:
            assert not lease.reuse
        pool.forget()
        async with pool.lease(ALICE, "p") as lease:
            assert not lease.reuse

    asyncio.run(scenario())


def test_a_slot_goes_to_who_waited_longest() -> None:
    async def scenario() -> list[int]:
        pool = SlotPool(1, 10)
        order: list[int] = []

        async def take(number: int) -> None:
            async with pool.lease(ANONYMOUS, ""):
                order.append(number)
                await asyncio.sleep(0)

        async with pool.lease(ANONYMOUS, ""):
            waiting = [asyncio.create_task(take(number)) for number in range(5)]
            await asyncio.sleep(0)
            assert pool.num_queued == 5
        late = asyncio.create_task(take(5))  # the slot is handed over already: no overtaking
        await asyncio.gather(*waiting, late)
        return order

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4, 5]


def test_more_than_the_queue_holds_are_refused() -> None:
    async def scenario() -> None:
        pool = SlotPool(1, 1)

        async def take() -> None:
            async with pool.lease(ANONYMOUS, ""):
                pass

        async with pool.lease(ANONYMOUS, ""):
            waiter = asyncio.create_task(take())
            await asyncio.sleep(0)
            with pytest.raises(Busy, match="maximum pending requests exceeded") as caught:
                await take()
            assert caught.value.retry_after_s >= 1
            assert pool.num_queued == 1
        await waiter
        assert (pool.num_busy, pool.num_queued) == (0, 0)
        await take()

    asyncio.run(scenario())


def test_whoever_leaves_the_line_loses_no_slot() -> None:
    async def scenario() -> None:
        pool = SlotPool(1, 2)

        async def take() -> None:
            async with pool.lease(ANONYMOUS, ""):
                pass

        async with pool.lease(ANONYMOUS, ""):
            leaving, staying = asyncio.create_task(take()), asyncio.create_task(take())
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            assert pool.num_queued == 1
        await staying
        assert (pool.num_busy, pool.num_queued) == (0, 0)
        await take()

    asyncio.run(scenario())


@pytest.mark.parametrize("num_waiting", [1, 2, 3])
def test_leaving_in_the_moment_of_the_hand_over_passes_the_slot_on(num_waiting: int) -> None:
    async def scenario() -> None:
        pool = SlotPool(1, num_waiting)
        served: list[int] = []

        async def take(number: int) -> None:
            async with pool.lease(ANONYMOUS, ""):
                served.append(number)

        async with pool.lease(ANONYMOUS, ""):
            tasks = [asyncio.create_task(take(number)) for number in range(num_waiting)]
            await asyncio.sleep(0)
        assert pool.num_queued == num_waiting - 1  # the first has its turn, and does not know it yet
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert served == list(range(1, num_waiting))
        await take(99)
        assert served[-1] == 99

    asyncio.run(scenario())


def test_an_error_inside_gives_the_slot_back() -> None:
    async def scenario() -> None:
        pool = SlotPool(1, 0)
        with pytest.raises(ZeroDivisionError):
            async with pool.lease(ANONYMOUS, ""):
                raise ZeroDivisionError
        assert await all_free(pool, 1)

    asyncio.run(scenario())


async def crowd(seed: int, num_slots: int, max_queue: int) -> None:
    """Requests that come, hold, end and are cancelled at random moments."""
    chance = random.Random(seed)
    pool = SlotPool(num_slots, max_queue)
    held: set[int] = set()
    releases: dict[asyncio.Task[None], asyncio.Event] = {}

    async def take(release: asyncio.Event) -> None:
        async with pool.lease(chance.choice((ALICE, BOB)), "p" * chance.randrange(9)) as lease:
            assert lease.index not in held
            held.add(lease.index)
            try:
                await release.wait()
            finally:
                held.discard(lease.index)

    for _ in range(chance.randrange(60)):
        match chance.randrange(5), chance.choice([*releases, None]):
            case ((0 | 1), _):
                release = asyncio.Event()
                releases[asyncio.create_task(take(release))] = release
            case 2, asyncio.Task() as task:
                releases[task].set()
            case 3, asyncio.Task() as task:
                releases[task].set()
                task.cancel()
            case 4, asyncio.Task() as task:
                task.cancel()
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        assert pool.num_queued <= max_queue
        assert len(held) <= num_slots
    for release in releases.values():
        release.set()
    for result in await asyncio.gather(*releases, return_exceptions=True):
        assert result is None or isinstance(result, asyncio.CancelledError | Busy)
    assert not held
    assert (pool.num_busy, pool.num_queued) == (0, 0)
    pool._line._max_queue = 0
    assert await all_free(pool, num_slots)


@pytest.mark.parametrize("num_slots", [1, 2, 4])
@pytest.mark.parametrize("max_queue", [0, 1, 5])
def test_no_slot_is_lost_whoever_leaves_whenever(num_slots: int, max_queue: int) -> None:
    async def scenario() -> None:
        for seed in range(150):
            await asyncio.wait_for(crowd(seed, num_slots, max_queue), 10)

    asyncio.run(scenario())


def test_further_slots_are_those_that_are_free_and_are_given_back() -> None:
    async def use() -> None:
        pool = SlotPool(4, 8)
        async with pool.lease(ANONYMOUS, "a"), pool.lease(ANONYMOUS, "b"):
            with pool.also(ANONYMOUS, 5) as num:
                assert (num, pool.num_busy) == ((2, 3), 4)
                late = asyncio.create_task(_hold(pool))
                await asyncio.sleep(0)
                assert pool.num_queued == 1
            await late  # it waited for one of them
            assert pool.num_busy == 2
        with pool.also(ANONYMOUS, 0) as none:
            assert none == ()

    asyncio.run(use())


def test_nothing_is_reused_of_what_was_in_a_further_slot() -> None:
    async def use() -> list[bool]:
        pool = SlotPool(2, 8)
        async with pool.lease(ANONYMOUS, "a"), pool.lease(ANONYMOUS, "b"):
            pass
        async with pool.lease(ANONYMOUS, "a") as kept:
            with pool.also(ANONYMOUS, 1):
                pass
        async with pool.lease(ANONYMOUS, "a") as first, pool.lease(ANONYMOUS, "b") as second:
            return [kept.reuse, first.reuse, second.reuse]

    assert asyncio.run(use()) == [True, True, False]


async def _hold(pool: SlotPool) -> None:
    async with pool.lease(ANONYMOUS, "late"):
        pass


async def order_of(pool: SlotPool, asking: list[Principal], *, held_by: Principal) -> list[str]:
    """In which order these get the one slot, who all ask while somebody else has it."""
    order: list[str] = []

    async def take(who: Principal) -> None:
        async with pool.lease(who, ""):
            order.append(who.id)
            pool._ledger.account(who).counter += cost(0, 100, who.allowance.weight)

    async with pool.lease(held_by, ""):
        tasks = [asyncio.create_task(take(who)) for who in asking]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return order


def test_whoever_has_had_least_goes_next_and_not_whoever_came_first() -> None:
    order = asyncio.run(order_of(SlotPool(1, 10), [ALICE, ALICE, ALICE, BOB], held_by=ALICE))
    assert order == ["alice", "bob", "alice", "alice"]


def test_twice_the_weight_gets_twice_as_much() -> None:
    heavy = Principal("heavy", allowance=Allowance(weight=2.0))
    order = asyncio.run(order_of(SlotPool(1, 99), [heavy] * 12 + [BOB] * 12, held_by=ANONYMOUS))
    assert order[:9].count("heavy") == 6


def test_a_higher_priority_goes_first_whatever_it_has_had() -> None:
    urgent = Principal("urgent", allowance=Allowance(priority=1))
    order = asyncio.run(order_of(SlotPool(1, 99), [BOB, BOB, urgent, urgent], held_by=urgent))
    assert order == ["urgent", "urgent", "bob", "bob"]


def test_the_earlier_deadline_goes_first_among_ones_own_and_gains_nothing_over_others() -> None:
    soon = replace(ALICE, begin_by=time.monotonic() + 50)
    sooner = replace(ALICE, begin_by=time.monotonic() + 20)

    async def scenario() -> list[float | None]:
        pool = SlotPool(1, 9)
        order: list[float | None] = []

        async def take(who: Principal) -> None:
            async with pool.lease(who, ""):
                order.append(who.begin_by)

        async with pool.lease(BOB, ""):
            tasks = [asyncio.create_task(take(who)) for who in (ALICE, soon, sooner)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()) == [sooner.begin_by, soon.begin_by, None]


def test_who_cannot_begin_by_the_deadline_is_told_when_it_comes_and_not_later() -> None:
    async def scenario() -> None:
        pool = SlotPool(1, 9)
        async with pool.lease(BOB, ""):
            began = time.monotonic()
            with pytest.raises(TooLate) as caught:
                async with pool.lease(replace(ALICE, begin_by=began + 0.05), ""):
                    pass
            assert 0.04 < time.monotonic() - began < 1.0
            assert caught.value.retry_after_s >= 1
            assert pool.num_queued == 0
        with pytest.raises(TooLate):  # also where a slot is free
            async with pool.lease(replace(ALICE, begin_by=time.monotonic() - 0.01), ""):
                pass
        assert await all_free(pool, 1)

    asyncio.run(scenario())


def test_no_slot_is_kept_for_what_the_server_asks_by_itself() -> None:
    async def scenario() -> None:
        pool = SlotPool(2, 9)
        async with pool.lease(Principal("house", may_return=False), ""):
            pass
        async with pool.lease(ALICE, ""), pool.lease(ALICE, ""):
            assert pool.num_busy == 2

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_one_slot_is_kept_from_the_only_one_who_asks_while_another_is_expected() -> None:
    async def scenario() -> None:
        clock = Clock()
        pool = SlotPool(2, 9, ledger=Ledger(clock))
        async with pool.lease(BOB, ""):
            pass  # so he is expected to come back
        async with pool.lease(ALICE, ""):
            hoarding = asyncio.create_task(_take(pool, ALICE))
            await asyncio.sleep(0)
            assert (pool.num_busy, pool.num_queued) == (1, 1)
            with pool.also(ALICE, 1) as further:
                assert further == ()
            async with pool.lease(BOB, ""):  # at once
                assert pool.num_busy == 2
            clock.now += EXPECTED_S + 1
            pool._wake()
            await asyncio.sleep(0)
            await hoarding  # in the other slot: nobody is expected any more
        assert (pool.num_busy, pool.num_queued) == (0, 0)

    asyncio.run(scenario())


def test_a_full_line_makes_room_for_somebody_who_has_less_of_it() -> None:
    async def scenario() -> None:
        pool = SlotPool(1, 3)
        async with pool.lease(ALICE, ""):
            crowd = [asyncio.create_task(_take(pool, ALICE)) for _ in range(3)]
            await asyncio.sleep(0)
            newcomer = asyncio.create_task(_take(pool, BOB))
            await asyncio.sleep(0)
            assert pool.num_queued == 3
            with pytest.raises(
                Busy
            ):  # she has two of three places; with one more she would have more than he
                await _take(pool, ALICE)
        told = await asyncio.gather(*crowd, newcomer, return_exceptions=True)
        assert [type(each) for each in told] == [type(None), type(None), Busy, type(None)]
        accounts = pool._ledger.accounts()
        assert [(each.running, each.waiting) for each in accounts] == [(0, 0), (0, 0)]

    asyncio.run(scenario())


async def _take(pool: SlotPool, who: Principal) -> None:
    async with pool.lease(who, ""):
        await asyncio.sleep(0)
