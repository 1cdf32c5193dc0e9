"""Which models are loaded: they come when asked for, one at a time, and go when idle or in the way."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from hutch.config import Settings
from hutch.core.backend import Running, WorkerState
from hutch.core.chat import LoadOptions
from hutch.core.errors import BadInput, Busy, NoRoom
from hutch.core.models import Model
from hutch.core.names import ModelName
from hutch.core.options import split_options
from hutch.engines.protocol import engine_name
from hutch.formats import gguf
from hutch.runtime import machine
from hutch.runtime.conversation import voice_of
from hutch.runtime.launch import launch_plan, memory_need_bytes, serves
from hutch.runtime.loaded import LoadedModel
from hutch.runtime.placement import Resident, place
from hutch.runtime.slots import SlotPool
from hutch.runtime.worker import SocketFolder

_log = logging.getLogger(__name__)
_DEFAULT_MAX_MODELS = 3
_RELOAD_BYTES_PER_S = 200e6  # about what a cold load takes; only the order among models matters


class Library(Protocol):
    """What the scheduler needs of a model store."""

    def open(self, name: ModelName) -> Model:
        """The model of that name. Raises NotFound."""

    def stamp(self, name: ModelName) -> object:
        """A value that changes when the name gets another content. Raises NotFound."""


class Scheduler:
    """The table of loaded models."""

    def __init__(self, library: Library, settings: Settings, sockets: SocketFolder) -> None:
        self._library = library
        self._settings = settings
        self._sockets = sockets
        self._loaded: dict[ModelName, LoadedModel] = {}
        self._stamps: dict[ModelName, object] = {}
        self._loading = asyncio.Lock()
        self._num_waiting = 0
        self._fell_idle = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def use(
        self, name: ModelName, options: LoadOptions, keep_alive_s: float | None
    ) -> AsyncIterator[tuple[LoadedModel, float]]:
        """Hold a model loaded while in use; also tells the seconds that loading took."""
        loaded, load_s = self._current(name, options), 0.0
        if loaded is None:
            began = time.monotonic()
            loaded = await self._obtain(name, options)
            load_s = time.monotonic() - began
        else:
            loaded.begin()
        try:
            yield loaded, load_s
        finally:
            loaded.end(keep_alive_s, self._expire)
            self._fell_idle.set()

    async def unload(self, name: ModelName) -> bool:
        """Let a model go at once, or as soon as its requests are done."""
        loaded = _named(self._loaded, name)
        if loaded is None:
            self._library.stamp(name)  # raises NotFound: a name that stands for nothing is not "unloaded"
            return False
        if loaded.num_users:
            loaded.keep_alive_s = 0.0
        else:
            await self._retire(loaded)
        return True

    def running(self) -> Sequence[Running]:
        """What is loaded, in no order."""
        return tuple(_describe(loaded) for loaded in self._loaded.values())

    async def close(self) -> None:
        """End every worker and remove their sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(loaded.stop() for loaded in self._loaded.values()))
        self._loaded.clear()
        self._sockets.close()

    def _current(self, name: ModelName, options: LoadOptions) -> LoadedModel | None:
        """The loaded model, if it is what the name means now and was loaded as these options want."""
        loaded = _named(self._loaded, name)
        if loaded is None or loaded.state not in (WorkerState.READY, WorkerState.STARTING):
            return None
        own = split_options(loaded.voice.model.parameters)[1]
        is_same = self._stamps.get(loaded.voice.model.name) == self._library.stamp(name)
        return loaded if is_same and serves(loaded.plan, options.over(own)) else None

    async def _obtain(self, name: ModelName, options: LoadOptions) -> LoadedModel:
        """Load a model; the caller then holds it. A load goes on even if whoever asked for it leaves."""
        if self._num_waiting > self._settings.max_queue:  # one of them is not waiting but loading
            raise Busy(
                "server busy, please try again.  maximum pending requests exceeded",
                hint="Send it again later.",
            )
        loading = asyncio.create_task(self._load_in_turn(name, options))
        self._tasks.add(loading)
        loading.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            loading.add_done_callback(partial(_give_back, expire=self._expire))
            raise

    async def _load_in_turn(self, name: ModelName, options: LoadOptions) -> LoadedModel:
        self._num_waiting += 1
        try:
            async with self._loading:
                loaded = self._current(name, options) or await self._load(name, options)
                loaded.begin()
                return loaded
        finally:
            self._num_waiting -= 1

    async def _load(self, name: ModelName, options: LoadOptions) -> LoadedModel:
        stamp = self._library.stamp(name)
        model = await asyncio.to_thread(self._library.open, name)
        if len(model.weights) != 1:
            raise BadInput(f'"{model.name.short}" has {len(model.weights)} model files, and Hutch runs one')
        if model.unsupported_layers:
            raise BadInput(
                f'"{model.name.short}" needs what Hutch does not have yet: {model.unsupported_layers[0]}'
            )
        facts = await asyncio.to_thread(gguf.read, model.weights[0])
        plan = launch_plan(model, facts, options, self._settings)
        if (old := _named(self._loaded, model.name)) is not None:
            await self._retire(old)
        need_bytes = await self._make_room(model.name, memory_need_bytes(plan, facts))
        slots = SlotPool(plan.num_slots, self._settings.max_queue)
        loaded = LoadedModel(voice_of(model, facts), plan, slots, self._sockets)
        loaded.memory_bytes = need_bytes
        loaded.keep_alive_s = self._settings.keep_alive
        self._loaded[model.name], self._stamps[model.name] = loaded, stamp
        try:
            await loaded.start(self._settings.load_timeout)
        except BaseException:
            self._loaded.pop(model.name, None)
            await asyncio.shield(loaded.stop())
            raise
        _log.info(
            "loaded %s in %.2f s: %d slots of %d tokens",
            model.name.short,
            loaded.load_s,
            plan.num_slots,
            plan.num_ctx,
        )
        return loaded

    async def _make_room(self, name: ModelName, need_bytes: int) -> int:
        """Evict what has to go, waiting for a model to fall idle where all are busy."""
        deadline = time.monotonic() + self._settings.load_timeout
        while True:
            free_bytes, total_bytes = machine.memory_bytes()
            residents = [_resident(loaded) for loaded in self._loaded.values()]
            plan = place(
                need_bytes,
                residents,
                free_bytes,
                total_bytes,
                self._settings.max_loaded_models or _DEFAULT_MAX_MODELS,
            )
            if plan.refuse:
                raise NoRoom(
                    f"cannot load {name.short}: {plan.refuse}",
                    hint="Use a smaller model or quantisation, a smaller num_ctx, or a lower HUTCH_NUM_PARALLEL.",
                )
            for victim in plan.evict:
                await self._retire(self._loaded[victim])
            if not plan.wait:
                return need_bytes
            self._fell_idle.clear()
            try:
                await asyncio.wait_for(self._fell_idle.wait(), deadline - time.monotonic())
            except TimeoutError as error:
                raise Busy(
                    f"no room for {name.short}: every loaded model stayed busy", hint="Send it again later."
                ) from error

    async def _retire(self, loaded: LoadedModel) -> None:
        """Take a model out of the table, wait for its requests, end its worker."""
        if self._loaded.get(loaded.voice.model.name) is loaded:
            del self._loaded[loaded.voice.model.name]
        ending = asyncio.create_task(self._end_when_idle(loaded))
        self._tasks.add(ending)
        ending.add_done_callback(self._tasks.discard)
        await asyncio.shield(ending)

    async def _end_when_idle(self, loaded: LoadedModel) -> None:
        while loaded.num_users:
            self._fell_idle.clear()
            await self._fell_idle.wait()
        await loaded.stop()
        self._fell_idle.set()

    def _expire(self, loaded: LoadedModel) -> None:
        if not loaded.num_users and self._loaded.get(loaded.voice.model.name) is loaded:
            ending = asyncio.create_task(self._retire(loaded))
            self._tasks.add(ending)
            ending.add_done_callback(self._tasks.discard)


def _named(table: Mapping[ModelName, LoadedModel], name: ModelName) -> LoadedModel | None:
    return table.get(name) or next((loaded for key, loaded in table.items() if key.same_as(name)), None)


def _give_back(loading: asyncio.Task[LoadedModel], expire: Callable[[LoadedModel], None]) -> None:
    """Whoever asked for the load has left and will not use it."""
    if not loading.cancelled() and loading.exception() is None:
        loading.result().end(None, expire)


def _resident(loaded: LoadedModel) -> Resident:
    size_bytes = loaded.voice.facts.size_bytes
    idle_s = 0.0 if loaded.num_users else time.monotonic() - loaded.idle_since
    return Resident(
        loaded.voice.model.name,
        loaded.memory_bytes,
        loaded.num_users > 0,
        idle_s,
        size_bytes / _RELOAD_BYTES_PER_S,
    )


def _describe(loaded: LoadedModel) -> Running:
    pid = loaded.worker.pid if loaded.worker else None
    return Running(
        model=loaded.voice.model.stored,
        state=loaded.state,
        engine=engine_name(loaded.plan),
        pid=pid,
        socket=loaded.worker.plan.endpoint.label if loaded.worker else "",
        num_ctx=loaded.plan.num_ctx,
        num_slots=loaded.plan.num_slots,
        busy_slots=loaded.slots.num_busy,
        queued=loaded.slots.num_queued,
        memory_bytes=(machine.resident_bytes(pid) if pid else None) or loaded.memory_bytes,
        expires_at=loaded.expires_at,
    )
