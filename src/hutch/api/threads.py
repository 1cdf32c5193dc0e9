"""Threads for work that may take long: so much of it at once and no more, and no exit waits for them.

The event loop's own threads are few, and are left to what takes milliseconds.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar

from hutch.core.errors import Busy

T = TypeVar("T")
_END = object()


class Threads:
    """Room for so many jobs. Each step of one runs in a daemon thread."""

    def __init__(self, limit: int, what: str) -> None:
        self._free = limit
        self._what = what
        self._closings: set[asyncio.Task[None]] = set()

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do one thing. Its place is taken until its thread ends, even where the caller is gone. Raises Busy."""
        self._take()
        step = _started(work, *arguments)
        step.add_done_callback(lambda _: self._give_back())
        return await asyncio.shield(step)

    async def steps(self, work: Iterator[T]) -> AsyncGenerator[T, None]:
        """Run an iterator that blocks. Closing this closes it after its current step. Raises Busy."""
        self._take()
        step: asyncio.Future[Any] | None = None
        try:
            while True:
                step = _started(next, work, _END)
                item = await asyncio.shield(step)
                if item is _END:
                    return
                yield item
        finally:
            closing = asyncio.create_task(self._close(work, step))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)

    async def _close(self, work: Iterator[T], step: asyncio.Future[Any] | None) -> None:
        try:
            if step is not None:
                await asyncio.wait([step])
            close = getattr(work, "close", None)
            if close is not None:
                await _started(close)
        finally:
            self._give_back()

    def _take(self) -> None:
        if not self._free:
            raise Busy(f"too many {self._what} at once", hint="Try again when one of them is done.")
        self._free -= 1

    def _give_back(self) -> None:
        self._free += 1


def _started(work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Start the work in a thread of its own. A pool's threads would be waited for when the process exits."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    done.add_done_callback(_noticed)

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work(*arguments)
        except BaseException as problem:  # noqa: BLE001  # it goes to whoever waits
            error = problem
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError as error:
        done.set_exception(Busy("the server has no thread left", hint=str(error)))
    return done


def _noticed(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()  # it was reported, or nobody is left to report it to
