"""The line before work that computes for long."""

import asyncio
import threading

import pytest

from hutch.core.errors import Busy
from hutch.tasks.line import Line, in_thread


def test_few_wait_and_the_next_is_told_to_come_back() -> None:
    async def scenario() -> None:
        line, go_on, done = Line(1, 2, "jobs"), asyncio.Event(), []

        async def job(number: int) -> None:
            async with line.turn():
                await go_on.wait()
                done.append(number)

        jobs = [asyncio.create_task(job(number)) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="too many jobs at once"):
            await job(3)
        jobs[1].cancel()  # who leaves the line makes room in it
        await asyncio.sleep(0)
        jobs.append(asyncio.create_task(job(4)))
        go_on.set()
        await asyncio.wait(jobs)
        assert done == [0, 2, 4]

    asyncio.run(scenario())


def test_a_turn_is_over_when_the_thread_of_a_caller_who_left_has_ended() -> None:
    async def scenario() -> None:
        line, go_on = Line(1, 0, "jobs"), threading.Event()

        async def job() -> bool:
            async with line.turn():
                return await in_thread(go_on.wait, 20)

        left = asyncio.create_task(job())
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.sleep(0.01)
        with pytest.raises(Busy):
            await job()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert await job()

    asyncio.run(scenario())
