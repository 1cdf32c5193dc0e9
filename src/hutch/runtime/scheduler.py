"""Which models are loaded: they come when asked for, one at a time, and go when idle or in the way."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from hutch.config import Settings
from hutch.core.backend import Running, WorkerState
from hutch.core.chat import LoadOptions
from hutch.core.errors import Busy, EngineFailed, HutchError, NoRoom, NotFound
from hutch.core.events import Listener, LoadFailed, ModelLoaded, unheard
from hutch.core.names import ModelName
from hutch.core.options import split_options
from hutch.engines.protocol import LaunchPlan, engine_name
from hutch.runtime import keeping, machine, planning, room, tuned
from hutch.runtime.conversation import voice_of
from hutch.runtime.fitting import fitted, lessened, what_fits
from hutch.runtime.hardware import Inventory
from hutch.runtime.keeping import Keeping, States
from hutch.runtime.launch import (
    context_bytes,
    memory_need_bytes,
    passed_over,
    serves,
    vram_bytes,
    within_vram,
)
from hutch.runtime.ledger import Ledger
from hutch.runtime.loaded import LoadedModel
from hutch.runtime.onnx_launch import OnHardware, RanOn
from hutch.runtime.placement import place
from hutch.runtime.planning import Library, Planned
from hutch.runtime.residents import Residents
from hutch.runtime.slots import SlotPool
from hutch.runtime.terms import TermsTable
from hutch.runtime.worker import SocketFolder
from hutch.store import laid_out

_log = logging.getLogger(__name__)
_DEFAULT_MAX_MODELS = 3


class Scheduler:
    """The table of loaded models."""

    def __init__(
        self,
        library: Library,
        settings: Settings,
        sockets: SocketFolder,
        inventory: Inventory | None = None,
        terms: TermsTable | None = None,
        *,
        listener: Listener = unheard,
        ledger: Ledger | None = None,
    ) -> None:
        self._library = library
        self._inventory = inventory or Inventory()
        self._terms = terms or TermsTable()
        self._settings = settings
        self._sockets = sockets
        self._listener = listener
        self._ledger = ledger or Ledger()
        self.keeping = keeping.NOTHING
        self.tunings = tuned.NOTHING
        self._residents = Residents()
        self._loading = asyncio.Lock()
        self._num_waiting = 0

    @asynccontextmanager
    async def use(
        self, name: ModelName, options: LoadOptions | None, keep_alive_s: float | None, *, waits: bool = True
    ) -> AsyncIterator[tuple[LoadedModel, float]]:
        """Hold a model loaded while in use; also tells the seconds until it was there. Without `options`, however it is loaded.

        Who does not wait gets Busy where a load, or the use of another model, would have to end first.
        """
        began = time.monotonic()
        terms = self._terms.of(name)
        asked, name = name, terms.variant or name
        loaded = self._taken(name, options, keep_alive_s)
        if loaded is None:
            loaded = await self._obtain(name, options, keep_alive_s, waits=waits)
        if not asked.same_as(name) and (supplanted := self._residents.named(asked)) is not None:
            self._residents.retire(supplanted)  # requests no longer reach it
        try:
            yield loaded, time.monotonic() - began
        finally:
            self._residents.release(loaded)

    async def unload(self, name: ModelName) -> bool:
        """Let a model go: at once, or where requests still use it, when they are done. Says whether it was loaded."""
        name = self._terms.of(name).variant or name
        loaded = self._residents.named(name)
        if loaded is None:
            self._library.stamp(name)  # raises NotFound: a name that stands for nothing is not "unloaded"
            return False
        if loaded.num_users:
            loaded.keep_alive_s = 0.0
        else:
            await asyncio.shield(self._residents.retire(loaded))
        return True

    def running(self) -> Sequence[Running]:
        """What is loaded, in no order."""
        return tuple(_describe(loaded) for loaded in self.loaded())

    def loaded(self) -> Sequence[LoadedModel]:
        """The models themselves, in no order."""
        return tuple(self._residents.everyone())

    async def close(self) -> None:
        """End every worker and remove their sockets."""
        await self._residents.close()
        self._sockets.close()

    def _taken(
        self, name: ModelName, options: LoadOptions | None, keep_alive_s: float | None
    ) -> LoadedModel | None:
        """The loaded model, if it is what the name means now and was loaded as is wanted; the caller then holds it."""
        loaded, terms = self._residents.named(name), self._terms.of(name)
        if loaded is None or loaded.state not in (WorkerState.READY, WorkerState.STARTING):
            return None
        if loaded.stamp != self._library.stamp(name) or loaded.terms != terms:
            return None
        if options is not None:
            options = terms.asked(options)
            own = split_options(loaded.voice.model.parameters)[1]
            if not serves(loaded.plan, options.over(own), loaded.usual):
                return None
            _log_passed_over(name, passed_over(loaded.plan, options))
        loaded.begin(terms.keep_alive_s(keep_alive_s))
        return loaded

    async def _obtain(
        self, name: ModelName, options: LoadOptions | None, keep_alive_s: float | None, *, waits: bool
    ) -> LoadedModel:
        """Load a model; the caller then holds it. A load goes on even if whoever asked for it leaves."""
        if not waits and self._loading.locked():
            raise Busy(f"{name.short} would wait for another load")
        if self._num_waiting > self._settings.max_queue:  # one of them is not waiting but loading
            raise Busy(
                "server busy, please try again.  maximum pending requests exceeded",
                hint="Send it again later.",
            )
        loading = self._residents.background(self._load_in_turn(name, options, keep_alive_s, waits=waits))
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError as error:
            if loading.cancelled():
                raise EngineFailed("the server is shutting down", hint="Send the request again.") from error
            loading.add_done_callback(self._give_back)
            raise

    def _give_back(self, loading: "asyncio.Task[LoadedModel]") -> None:
        """Whoever asked for the load has left and will not use it."""
        if not loading.cancelled() and loading.exception() is None:
            self._residents.release(loading.result())

    async def _load_in_turn(
        self, name: ModelName, options: LoadOptions | None, keep_alive_s: float | None, *, waits: bool
    ) -> LoadedModel:
        self._num_waiting += 1
        try:
            async with self._loading:
                planned = None
                while planned is None or planned.terms != self._terms.of(name):  # which may change meanwhile
                    if (loaded := self._taken(name, options, keep_alive_s)) is not None:
                        return loaded
                    planned = await planning.planned(
                        *(self._library, name, self._terms.of(name), options or LoadOptions()),
                        settings=self._settings,
                        inventory=self._inventory,
                        tunings=self.tunings,
                    )
                return await self._load(planned, keep_alive_s, waits=waits)
        except (Busy, NotFound):
            raise
        except HutchError as error:
            _log.error("could not load %s: %s", name.short, error.message)
            raise
        finally:
            self._num_waiting -= 1

    async def _load(self, planned: Planned, keep_alive_s: float | None, *, waits: bool) -> LoadedModel:
        model, facts, files = planned.model, planned.facts, planned.files
        room_bytes = room.room_bytes(self.loaded())
        plan = fitted(planned.plan, facts, files, room_bytes, planned.undecided)
        need_bytes = memory_need_bytes(plan, facts, files)
        advice = partial(what_fits, plan, facts, files, room_bytes)
        room.check(model.name, need_bytes, self.loaded(), advice)
        less = lessened(planned.plan, plan)
        if less:
            _log.warning("%s gets %s: memory has no room for more", model.name.short, ", ".join(less))
        if (old := self._residents.named(model.name)) is not None:
            await self._make_way(old)
        await self._make_room(model.name, need_bytes, advice, waits=waits)
        beside_bytes = sum(file.size_bytes for file in files)
        if self._settings.max_vram and plan.num_gpu_layers:
            free_bytes = self._settings.max_vram - sum(each.vram_bytes for each in self.loaded())
            plan = within_vram(plan, facts, free_bytes - beside_bytes)
        _log.debug("plan of %s: %s", model.name.short, plan)
        own = split_options(model.parameters)[1]
        _log_passed_over(model.name, passed_over(plan, planned.options.over(own), self._settings))
        slots = SlotPool(
            plan.num_slots, self._settings.max_queue, in_batches=planned.terms.in_batches, ledger=self._ledger
        )
        voice = await asyncio.to_thread(voice_of, model, facts)  # documents take a while to index
        if model.files:
            plan = replace(plan, weights=str(await asyncio.to_thread(laid_out.lay_out, model.files)))
        plan = replace(plan, state_folder=self.keeping.folder)
        loaded = LoadedModel(voice, plan, slots, self._sockets, planned.stamp, listener=self._listener)
        loaded.ran_on = _ran_on(plan, planned.on_hardware)
        loaded.memory_bytes, loaded.terms, loaded.usual = need_bytes, planned.terms, planned.usual
        loaded.less = less
        if planned.undecided.num_ctx:  # who asks for no context gets the one that there is
            loaded.usual = replace(planned.usual, num_ctx=plan.num_ctx)
        if plan.num_gpu_layers:
            loaded.vram_bytes = vram_bytes(plan, facts) + beside_bytes
        keep_alive_s = planned.terms.keep_alive_s(keep_alive_s)
        loaded.begin(self._settings.keep_alive if keep_alive_s is None else keep_alive_s)
        self._residents.add(loaded)
        try:
            await loaded.start(self._settings.load_timeout)
        except BaseException:
            self._listener(LoadFailed(model.name.short))
            self._residents.remove(loaded)
            await asyncio.shield(loaded.stop())
            raise
        loaded.states = _states(loaded, self.keeping)
        self._listener(ModelLoaded(model.name.short, loaded.load_s))
        _log.info(
            "loaded %s in %.2f s: %d slots of %d tokens",
            *(model.name.short, loaded.load_s, plan.num_slots, plan.num_ctx),
        )
        if plan.tuned:
            _log.info("%s has tuned values: %s", model.name.short, _tuned(plan))
        for step in loaded.ran_on.steps_down if loaded.ran_on else ():
            _log.warning("%s does not run on %s: %s", model.name.short, step.wanted, step.reason)
        return loaded

    async def _make_way(self, old: LoadedModel) -> None:
        """Have the same model, loaded otherwise, go first. Raises Busy where its requests do not end."""
        gone = self._residents.retire(old)
        try:
            await asyncio.wait_for(asyncio.shield(gone), self._settings.load_timeout)
        except TimeoutError as error:
            name = old.voice.model.name.short
            raise Busy(
                f"{name} is in use with other options, and stayed so", hint="Send it again later."
            ) from error

    async def _make_room(
        self, name: ModelName, need_bytes: int, advice: Callable[[], str], *, waits: bool
    ) -> None:
        """Evict what has to go, waiting for a model to fall idle where all are busy."""
        deadline = time.monotonic() + self._settings.load_timeout
        max_models = self._settings.max_loaded_models or _DEFAULT_MAX_MODELS
        while True:
            residents = [room.resident(loaded) for loaded in self.loaded()]
            plan = place(need_bytes, residents, *room.memory_bytes(self.loaded()), max_models)
            if plan.refuse:
                raise NoRoom(f"cannot load {name.short}: {plan.refuse}", hint=advice())
            if not plan.evict and not plan.wait:
                return
            if plan.wait and not waits:
                raise Busy(f"no room for {name.short} beside the models in use")
            for victim in plan.evict:  # looked at anew: while one goes, another may be taken into use
                loaded = self._residents.named(victim)
                if loaded is not None and not loaded.num_users:
                    await asyncio.shield(self._residents.retire(loaded))
            if plan.wait:
                try:
                    await self._residents.change(deadline - time.monotonic())
                except TimeoutError as error:
                    raise Busy(
                        f"no room for {name.short}: every loaded model stayed busy",
                        hint="Send it again later.",
                    ) from error


def _states(loaded: LoadedModel, kept_by: Keeping) -> States | None:
    """The states of a model, if its slots may outlive it."""
    facts, plan, ran_on = loaded.voice.facts, loaded.plan, loaded.ran_on
    if not (kept_by.folder and loaded.terms.keeps_prefixes and keeping.can_keep(plan, facts, ran_on)):
        return None
    digest, setting = loaded.voice.model.stored.digest, keeping.setting_of(plan, ran_on)
    return States(kept_by, digest, setting, context_bytes(plan, facts) // plan.num_ctx)


def _ran_on(plan: LaunchPlan, on_hardware: OnHardware | None) -> RanOn | None:
    """What is known before the worker tells the rest; None of llama.cpp."""
    if on_hardware is not None:
        return RanOn(on_hardware.runner_reason, on_hardware.passed_over)
    return RanOn("a BERT of floats runs faster so than by llama.cpp", ()) if plan.is_bert else None


def _log_passed_over(name: ModelName, names: Sequence[str]) -> None:
    if names:
        _log.warning("%s runs on ONNX Runtime, where these mean nothing: %s", name.short, ", ".join(names))


def _tuned(plan: LaunchPlan) -> Mapping[str, Any]:
    return {name: getattr(plan, name) for name in plan.tuned}


def _describe(loaded: LoadedModel) -> Running:
    pid = loaded.worker.pid if loaded.worker else None
    is_dead = pid is None and loaded.state is WorkerState.READY  # which its keeper was not told yet
    return Running(
        model=loaded.voice.model.stored,
        state=WorkerState.STARTING if is_dead else loaded.state,
        engine=loaded.ran_on.runner if loaded.ran_on else engine_name(loaded.plan),
        pid=pid,
        socket=loaded.worker.plan.endpoint.label if loaded.worker else "",
        num_ctx=loaded.plan.num_ctx,
        num_slots=loaded.plan.num_slots,
        busy_slots=loaded.slots.num_busy,
        queued=loaded.slots.num_queued,
        memory_bytes=(machine.resident_bytes(pid) if pid else None) or loaded.memory_bytes,
        expires_at=loaded.expires_at,
        hardware=loaded.ran_on.told if loaded.ran_on else None,
        kv_cache_type="" if loaded.ran_on else loaded.plan.kv_cache_type,
        less=loaded.less,
        tuned=_tuned(loaded.plan),
    )
