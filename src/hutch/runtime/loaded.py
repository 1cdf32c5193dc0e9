"""A loaded model: its worker kept alive, its slots, and how long it may stay idle."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from hutch import places
from hutch.core.backend import WorkerState
from hutch.core.durations import FOREVER
from hutch.core.errors import EngineFailed, HutchError
from hutch.core.events import Listener, WorkerDied, unheard
from hutch.engines.client import WorkerGone
from hutch.engines.protocol import LaunchPlan
from hutch.runtime import terms
from hutch.runtime.conversation import Voice
from hutch.runtime.keeping import States
from hutch.runtime.onnx_launch import RanOn
from hutch.runtime.slots import SlotPool
from hutch.runtime.worker import SocketFolder, Worker, with_endpoint
from hutch.store import laid_out

_log = logging.getLogger(__name__)
_Reply = TypeVar("_Reply")
_MAX_DEATHS = 5  # in a row; a worker that lived a while starts the count anew
_LONG_LIFE_S = 10.0
_LOOK_EVERY_S = 10.0  # how often a worker is asked whether it still answers
_ANSWER_WITHIN_S = 10.0
_MAX_SILENCES = 3
_DEATH_S = 5.0  # a killed process still has to give its memory back


class LoadedModel:
    """One model in memory. Its worker may die and be replaced; requests that wait for it do not notice."""

    def __init__(
        self,
        voice: Voice,
        plan: LaunchPlan,
        slots: SlotPool,
        sockets: SocketFolder,
        stamp: object,
        *,
        listener: Listener = unheard,
    ) -> None:
        self.voice = voice
        self.plan = plan
        self.slots = slots
        self.stamp = stamp  # of the name's content when this was loaded
        self.state = WorkerState.STARTING
        self.num_users = 0
        self.load_s = 0.0
        self.keep_alive_s = 0.0
        self.idle_since = time.monotonic()
        self.memory_bytes = 0
        self.vram_bytes = 0  # at most, by the plan
        self.usual = plan  # for who asks for no options
        self.less: tuple[str, ...] = ()  # what memory had no room for, in words
        self.terms = terms.NONE
        self.worker: Worker | None = None
        self.ran_on: RanOn | None = None  # of an ONNX model: what runs it
        self.states: States | None = None  # None: no slot outlives the worker
        self._sockets = sockets
        self._listener = listener
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: HutchError | None = None

    async def start(self, timeout_s: float) -> None:
        """Launch the worker. Raises EngineFailed."""
        began = time.monotonic()
        try:
            self.worker = await self._launch(timeout_s)
            if (knowledge := self.voice.knowledge) is not None:
                reply = await self.worker.client.call("/tokenize", {"content": knowledge.sample})
                knowledge.measure(len(reply["tokens"]))
        except HutchError as error:
            self._failure = error  # whoever else waits for this load gets the same reason
            raise
        self.load_s = time.monotonic() - began
        self._set(WorkerState.READY)
        self._keeper = asyncio.create_task(self._keep(timeout_s))

    async def ready(self, timeout_s: float) -> Worker:
        """The worker, once it answers. Raises EngineFailed where it does not come back."""
        deadline = time.monotonic() + timeout_s
        while self.state is WorkerState.STARTING:
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                break
        if self._failure is not None:
            raise self._failure
        if self.state is not WorkerState.READY or self.worker is None:
            raise EngineFailed(
                f"the worker of {self.voice.model.name.short} is {self.state}", hint="See `hutch logs MODEL`."
            )
        return self.worker

    async def asked(self, ask: Callable[[Worker], Awaitable[_Reply]], timeout_s: float) -> _Reply:
        """What `ask` gets of the worker; of its successor, where it dies meanwhile. Raises EngineFailed."""
        worker = await self.ready(timeout_s)
        try:
            return await ask(worker)
        except WorkerGone:
            await self.lost(worker)
        return await ask(await self.ready(timeout_s))

    async def lost(self, worker: Worker) -> None:
        """Wait until the keeper has seen that this worker is gone. Raises EngineFailed where it is not."""
        changed = self._changed
        try:
            await asyncio.wait_for(worker.wait(), _DEATH_S)
        except TimeoutError as error:
            raise EngineFailed(
                "the model's worker hung up without an answer", hint="Send the request again."
            ) from error
        if self.worker is worker and self.state is WorkerState.READY:
            await changed.wait()

    async def stop(self) -> None:
        """End the worker for good."""
        self._set(WorkerState.STOPPING)
        if self._timer:
            self._timer.cancel()
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        states, self.states = self.states, None
        if self.worker:
            if states is not None:
                await states.keep(self.worker.client, self.slots.held)
            await self.worker.stop()
        if self.voice.model.files:
            await asyncio.to_thread(laid_out.remove, Path(self.plan.weights))

    def begin(self, keep_alive_s: float | None) -> None:
        """A request uses the model, and says how long it may stay after that; None: as was said before."""
        self.num_users += 1
        if keep_alive_s is not None:
            self.keep_alive_s = keep_alive_s
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def end(self, expire: Callable[["LoadedModel"], None]) -> None:
        """A request is done. `expire` is called once nobody has used the model for the time that it may stay."""
        self.num_users -= 1
        if self.num_users:
            return
        self.idle_since = time.monotonic()
        if self.keep_alive_s != FOREVER and self.state is not WorkerState.STOPPING:
            self._timer = asyncio.get_running_loop().call_later(self.keep_alive_s, expire, self)

    @property
    def expires_at(self) -> datetime | None:
        """When it goes if nothing asks for it; None for never."""
        if self.keep_alive_s == FOREVER:
            return None
        left_s = self.keep_alive_s - (0.0 if self.num_users else time.monotonic() - self.idle_since)
        return datetime.now(UTC) + timedelta(seconds=min(max(0.0, left_s), 1e9))

    async def _launch(self, timeout_s: float) -> Worker:
        plan = with_endpoint(self.plan, self._sockets.next_endpoint())
        worker = Worker(plan, places.log_file(self.voice.model.name.short))
        try:
            await worker.start(timeout_s)
            if self.ran_on is not None:
                self.ran_on = self.ran_on.by((await worker.client.get("/props"))["engine"])
        except BaseException as error:
            await asyncio.shield(worker.stop())
            has_others = self.ran_on is not None and len(self.plan.providers) > 1
            if not isinstance(error, EngineFailed) or worker.crash is None or not has_others:
                raise
            assert self.ran_on is not None  # noqa: S101
            first, *others = self.plan.providers  # a provider's own code took the worker with it
            self.ran_on = self.ran_on.without(
                first, f"its worker crashed while it was loaded ({worker.crash})"
            )
            self.plan = replace(self.plan, providers=tuple(others))
            return await self._launch(timeout_s)
        return worker

    async def _keep(self, timeout_s: float) -> None:
        """Replace the worker whenever it dies, later each time; give up when it keeps dying."""
        name = self.voice.model.name.short
        deaths = 0
        while self.worker is not None:
            status = await self._end_of(self.worker)
            lived_s = time.monotonic() - self.worker.started_at
            deaths = 1 if lived_s > _LONG_LIFE_S else deaths + 1
            self._set(WorkerState.STARTING)
            self.slots.forget()
            self._listener(WorkerDied(name))
            _log.warning("the worker of %s ended with status %s after %.1f s", name, status, lived_s)
            await self.worker.stop()
            self.worker = None
            while self.worker is None and deaths <= _MAX_DEATHS:
                await asyncio.sleep(0.05 * 4 ** (deaths - 1))
                try:
                    self.worker = await self._launch(timeout_s)
                except (EngineFailed, OSError) as error:
                    deaths += 1
                    _log.warning("the worker of %s did not come back: %s", name, error)
            self._set(WorkerState.READY if self.worker else WorkerState.FAILED)

    async def _end_of(self, worker: Worker) -> int:
        """Wait for a worker's end, and bring it about where the worker does not answer any more."""
        ending = asyncio.create_task(worker.wait())
        silent = 0
        try:
            while not (await asyncio.wait((ending,), timeout=_LOOK_EVERY_S))[0]:
                await worker.trim_log()
                try:
                    await worker.client.get("/health", _ANSWER_WITHIN_S)
                except EngineFailed:
                    silent += 1
                else:
                    silent = 0
                if silent == _MAX_SILENCES:
                    _log.warning("the worker of %s does not answer: ending it", self.voice.model.name.short)
                    await worker.stop()
            return ending.result()
        finally:
            ending.cancel()

    def _set(self, state: WorkerState) -> None:
        self.state = state
        self._changed.set()
        self._changed = asyncio.Event()
