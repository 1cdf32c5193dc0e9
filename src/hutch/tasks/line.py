"""A line before work that computes for long: few have their turn at once, few wait, and whoever comes then is told to come back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hutch.core.errors import Busy

T = TypeVar("T")


class Line:
    """First come, first served."""

    def __init__(self, at_once: int, waiting: int, what: str) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._places = at_once + waiting
        self._what = what

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Raises Busy where too many wait already."""
        if not self._places:
            raise Busy(f"too many {self._what} at once", hint="Try again when one of them is done.")
        self._places -= 1
        try:
            async with self._turns:
                yield
        finally:
            self._places += 1


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do it in a thread. Ends no sooner than that, even where the caller is gone, so that a turn is as long as its work."""
    step = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(step)
    finally:
        await asyncio.wait([step])
