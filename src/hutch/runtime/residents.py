"""The models in memory: those that requests find by name, and those on their way out."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from hutch.core.names import ModelName
from hutch.runtime.loaded import LoadedModel

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Residents:
    """Who is in memory. Knows nothing of loading, and nothing of room."""

    def __init__(self) -> None:
        self._loaded: dict[ModelName, LoadedModel] = {}
        self._leaving: set[LoadedModel] = set()
        self._fell_idle = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def named(self, name: ModelName) -> LoadedModel | None:
        """The loaded model of that name, in whatever case it is written."""
        return self._loaded.get(name) or next(
            (it for key, it in self._loaded.items() if key.same_as(name)), None
        )

    def everyone(self) -> tuple[LoadedModel, ...]:
        """All that take memory, those on their way out too."""
        return (*self._loaded.values(), *self._leaving)

    def add(self, loaded: LoadedModel) -> None:
        """Let requests find a model."""
        self._loaded[loaded.voice.model.name] = loaded

    def remove(self, loaded: LoadedModel) -> None:
        """Let requests find it no more."""
        if self._loaded.get(loaded.voice.model.name) is loaded:
            del self._loaded[loaded.voice.model.name]

    def release(self, loaded: LoadedModel) -> None:
        """A request is done with a model."""
        loaded.end(self._expire)
        self._fell_idle.set()

    def retire(self, loaded: LoadedModel) -> "asyncio.Task[None]":
        """Let nothing new begin on a model, and end it when its requests are done."""
        self.remove(loaded)
        self._leaving.add(loaded)
        return self.background(self._end_when_idle(loaded))

    async def change(self, timeout_s: float) -> None:
        """Wait until a model may have fallen idle or gone. Raises TimeoutError."""
        self._fell_idle.clear()
        await asyncio.wait_for(self._fell_idle.wait(), timeout_s)

    def background(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run something that goes on even if whoever asked for it leaves, until `close`."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End every worker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        ends = await asyncio.gather(*(loaded.stop() for loaded in self.everyone()), return_exceptions=True)
        for problem in filter(None, ends):
            _log.error("a worker did not end in good order: %s", problem)
        self._loaded.clear()
        self._leaving.clear()

    async def _end_when_idle(self, loaded: LoadedModel) -> None:
        while loaded.num_users:
            self._fell_idle.clear()
            await self._fell_idle.wait()
        await loaded.stop()
        self._leaving.discard(loaded)
        self._fell_idle.set()

    def _expire(self, loaded: LoadedModel) -> None:
        if not loaded.num_users and self._loaded.get(loaded.voice.model.name) is loaded:
            self.retire(loaded)
