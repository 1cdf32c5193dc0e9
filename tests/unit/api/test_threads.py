"""Long work in threads: bounded, cleaned up after, waited for by nobody."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from hutch.api.threads import Threads
from hutch.core.errors import Busy, NoRoom


def test_more_jobs_than_there_is_room_for_are_refused_and_the_loops_own_threads_stay_free() -> None:
    async def scenario() -> None:
        threads, go_on = Threads(40, "jobs"), threading.Event()
        waiting = [asyncio.create_task(threads.run(go_on.wait, 20)) for _ in range(40)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="too many jobs at once"):
            await threads.run(go_on.wait, 20)
        with pytest.raises(Busy):
            await anext(threads.steps(iter([1])))
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), 5) == 5
        go_on.set()
        assert all(await asyncio.gather(*waiting))
        assert await threads.run(lambda: 6) == 6

    asyncio.run(scenario())


def test_a_place_is_free_again_only_when_the_thread_of_a_caller_who_left_has_ended() -> None:
    async def scenario() -> None:
        threads, go_on = Threads(1, "jobs"), threading.Event()
        waiting = asyncio.create_task(threads.run(go_on.wait, 20))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(Busy):
            await threads.run(int)
        go_on.set()
        await asyncio.sleep(0.1)
        assert await threads.run(int) == 0

    asyncio.run(scenario())


def test_an_iterator_is_run_step_by_step_and_closed() -> None:
    closed = threading.Event()

    def work() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.set()

    async def scenario() -> None:
        threads = Threads(1, "jobs")
        assert [step async for step in threads.steps(iter(range(3)))] == [0, 1, 2]
        await asyncio.sleep(0.1)
        steps = threads.steps(work())
        assert [await anext(steps), await anext(steps)] == [0, 1]
        await steps.aclose()
        assert await asyncio.to_thread(closed.wait, 5)
        await asyncio.sleep(0.1)
        assert await threads.run(int) == 0

    asyncio.run(scenario())


def test_an_error_of_the_work_reaches_whoever_waits() -> None:
    def work() -> Iterator[int]:
        yield 1
        raise NoRoom("full")

    async def scenario() -> None:
        threads = Threads(1, "jobs")
        with pytest.raises(NoRoom, match="full"):
            _ = [step async for step in threads.steps(work())]
        await asyncio.sleep(0.1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)

    asyncio.run(scenario())


def test_a_step_that_never_ends_does_not_keep_the_loop_from_ending() -> None:
    async def scenario() -> None:
        working = asyncio.create_task(Threads(1, "jobs").run(threading.Event().wait))
        await asyncio.sleep(0.01)
        working.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 5))
