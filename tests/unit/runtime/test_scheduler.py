"""The table of loaded models, with workers that are made up."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hutch.config import Settings
from hutch.core.backend import WorkerState
from hutch.core.chat import LoadOptions
from hutch.core.errors import BadInput, Busy, EngineFailed, NoRoom, NotFound
from hutch.core.models import Details, Model, StoredModel
from hutch.core.names import ModelName
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.formats import headers
from hutch.formats.gguf import GGUF
from hutch.runtime import loaded as loaded_module
from hutch.runtime import machine
from hutch.runtime.keeping import Keeping
from hutch.runtime.launch import memory_need_bytes
from hutch.runtime.planning import check_runs
from hutch.runtime.scheduler import Scheduler
from hutch.runtime.terms import NONE, Terms, TermsTable
from hutch.runtime.worker import SocketFolder
from hutch.store import installed
from tests.gguf_files import tiny_model

SMALL, OTHER = ModelName.parse("small"), ModelName.parse("other")
NOTHING = LoadOptions()


class FakeWorker:
    """A worker without a process: it starts when `gate` is open, and ends when stopped or killed."""

    alive: set["FakeWorker"]
    gate: asyncio.Event
    failure: EngineFailed | None
    client = None
    crash: str | None = None

    def __init__(self, plan: LaunchPlan, log: Path) -> None:
        self.plan = plan
        self.pid: int | None = os.getpid()
        self.started_at = 0.0
        self.ended = asyncio.Event()

    async def start(self, timeout_s: float) -> None:
        """Start once the gate is open."""
        FakeWorker.alive.add(self)
        try:
            await FakeWorker.gate.wait()
            if FakeWorker.failure:
                raise FakeWorker.failure
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> int:
        """Wait for the end."""
        await self.ended.wait()
        return -9

    async def stop(self) -> None:
        """End."""
        FakeWorker.alive.discard(self)
        self.ended.set()
        await asyncio.sleep(0)


class Shelf:
    """A library of two models, both of one small file."""

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    def open(self, name: ModelName) -> Model:
        """The model of that name."""
        self.stamp(name)
        return Model(StoredModel(name, "0" * 64, 1, datetime.now(UTC), Details()), (self.weights,))

    def stamp(self, name: ModelName) -> object:
        """Always the same."""
        if name not in (SMALL, OTHER):
            raise NotFound("no such model")
        return 1


class Changing(Shelf):
    """A library that is slow: before a model is open, something else has happened."""

    def __init__(self, weights: Path) -> None:
        super().__init__(weights)
        self.meanwhile: Callable[[], object] = bool

    def open(self, name: ModelName) -> Model:
        """The model of that name."""
        meanwhile, self.meanwhile = self.meanwhile, bool
        meanwhile()
        return super().open(name)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a story with a scheduler; afterwards no worker may be left."""
    weights = tmp_path / "model.gguf"
    weights.write_bytes(tiny_model({"llama.context_length": 4096}))
    monkeypatch.setattr(loaded_module, "Worker", FakeWorker)
    monkeypatch.setattr(machine, "memory_bytes", lambda: (1 << 40, 1 << 40))

    def tell(story: Callable[[Scheduler], Awaitable[None]], **settings: object) -> None:
        async def whole() -> None:
            FakeWorker.alive, FakeWorker.gate, FakeWorker.failure = set(), asyncio.Event(), None
            FakeWorker.gate.set()
            scheduler = Scheduler(Shelf(weights), Settings(**settings), SocketFolder(unix=False))  # type: ignore[arg-type]
            try:
                await asyncio.wait_for(story(scheduler), 10)
            finally:
                await scheduler.close()
            assert not FakeWorker.alive

        asyncio.run(whole())

    return tell


async def use(scheduler: Scheduler, name: ModelName, keep_alive_s: float | None = None) -> None:
    """Use a model and be done with it."""
    async with scheduler.use(name, NOTHING, keep_alive_s) as (loaded, _):
        await loaded.ready(1)


@pytest.mark.parametrize("keeps_prefixes", [True, False])
def test_slots_outlive_a_model_unless_its_deployment_keeps_no_prefix(
    run: Callable[..., None], tmp_path: Path, keeps_prefixes: bool
) -> None:
    async def story(scheduler: Scheduler) -> None:
        scheduler.keeping = Keeping(tmp_path / "kv", 1 << 30, lambda: None)
        scheduler._terms.put(SMALL, Terms(keeps_prefixes=keeps_prefixes))
        async with scheduler.use(SMALL, NOTHING, None) as (loaded, _):
            assert (loaded.states is not None) == keeps_prefixes
            assert loaded.plan.state_folder == scheduler.keeping.folder

    run(story)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds."""
    while not condition():  # the condition belongs to nobody who could set an event
        await asyncio.sleep(0)


def test_a_model_that_requires_a_later_version_is_not_loaded() -> None:
    stored = StoredModel(SMALL, "0" * 64, 1, datetime.now(UTC), Details())
    with pytest.raises(BadInput, match=r"^requires version 99\.0\.0 of Ollama's API"):
        check_runs(Model(stored, (Path("x"),), requires="99.0.0"))


def test_a_model_that_is_unloaded_while_it_loads_leaves_no_worker(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        FakeWorker.gate.clear()
        loading = asyncio.create_task(use(scheduler, SMALL))
        await until(lambda: bool(FakeWorker.alive))
        assert await scheduler.unload(SMALL)
        FakeWorker.gate.set()
        await loading
        await until(lambda: not FakeWorker.alive and not scheduler.running())

    run(story)


def test_a_load_goes_on_when_whoever_asked_for_it_leaves(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        FakeWorker.gate.clear()
        loading = asyncio.create_task(use(scheduler, SMALL, 60))
        await until(lambda: bool(FakeWorker.alive))
        loading.cancel()
        await asyncio.wait((loading,))
        FakeWorker.gate.set()
        await until(lambda: any(row.state is WorkerState.READY for row in scheduler.running()))
        await use(scheduler, SMALL)
        assert len(FakeWorker.alive) == 1

    run(story)


def test_who_does_not_wait_is_told_at_once_that_there_is_no_room(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        async with scheduler.use(SMALL, NOTHING, None):
            with pytest.raises(Busy, match="no room for other:latest beside the models in use"):
                await scheduler.use(OTHER, NOTHING, None, waits=False).__aenter__()
        FakeWorker.gate.clear()
        loading = asyncio.create_task(use(scheduler, OTHER))
        await until(lambda: any(row.state is WorkerState.STARTING for row in scheduler.running()))
        with pytest.raises(Busy, match="would wait for another load"):
            await scheduler.use(SMALL, NOTHING, None, waits=False).__aenter__()
        FakeWorker.gate.set()
        await loading

    run(story, max_loaded_models=1)


def test_a_worker_that_has_just_ended_is_not_told_of_as_ready(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        await use(scheduler, SMALL, 60)
        assert [row.state for row in scheduler.running()] == [WorkerState.READY]
        (worker,) = FakeWorker.alive
        worker.pid = None  # the system knows, and the event loop does not yet
        assert [(row.state, row.pid) for row in scheduler.running()] == [(WorkerState.STARTING, None)]

    run(story)


def test_models_on_the_gpu_leave_the_others_what_is_left(run: Callable[..., None]) -> None:
    taken: list[int] = []

    async def story(scheduler: Scheduler) -> None:
        taken.clear()
        for name in (SMALL, OTHER):
            async with scheduler.use(name, LoadOptions(num_gpu=9), 60) as (loaded, _):
                taken.append(loaded.vram_bytes)
        await scheduler.unload(SMALL)
        async with scheduler.use(SMALL, LoadOptions(num_gpu=0), 60) as (loaded, _):
            assert loaded.vram_bytes == 0

    run(story, max_vram=1 << 40)
    whole, same = taken
    assert whole == same > 0
    run(story, max_vram=whole * 3 // 2)
    assert taken[0] == whole
    assert 0 < taken[1] <= whole // 2
    run(story, max_vram=whole)
    assert taken == [whole, 0]


def test_everybody_who_waits_for_a_load_learns_why_it_failed_and_the_log_too(
    run: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(scheduler: Scheduler) -> None:
        FakeWorker.gate.clear()
        FakeWorker.failure = EngineFailed("the file is no model")
        waiting = [asyncio.create_task(use(scheduler, SMALL)) for _ in range(3)]
        await until(lambda: bool(FakeWorker.alive))
        FakeWorker.gate.set()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert "the file is no model" in str(outcome)
        assert not scheduler.running()

    run(story)
    assert "could not load small:latest: the file is no model" in caplog.messages


def test_stopping_a_model_in_use_holds_even_where_the_request_wanted_it_kept(
    run: Callable[..., None],
) -> None:
    async def story(scheduler: Scheduler) -> None:
        async with scheduler.use(SMALL, NOTHING, 300.0):
            await scheduler.unload(SMALL)
            assert len(FakeWorker.alive) == 1
        await until(lambda: not FakeWorker.alive)

    run(story)


def test_a_second_model_evicts_the_idle_one_and_waits_for_the_busy_one(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        await use(scheduler, SMALL)
        await use(scheduler, OTHER)
        assert [row.model.name for row in scheduler.running()] == [OTHER]
        async with scheduler.use(OTHER, NOTHING, None):
            waiting = asyncio.create_task(use(scheduler, SMALL))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        await waiting
        assert [row.model.name for row in scheduler.running()] == [SMALL]

    run(story, max_loaded_models=1)


def test_many_at_once_need_one_load(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        await asyncio.gather(*(use(scheduler, SMALL) for _ in range(20)))
        assert len(FakeWorker.alive) == 1

    run(story)


def test_more_than_may_wait_for_a_load_are_told_so(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        FakeWorker.gate.clear()
        first = [asyncio.create_task(use(scheduler, name)) for name in (SMALL, OTHER)]
        await until(lambda: bool(FakeWorker.alive))
        with pytest.raises(Busy):
            await use(scheduler, OTHER)
        FakeWorker.gate.set()
        await asyncio.gather(*first)

    run(story, max_queue=1)


def test_a_larger_context_reloads_once_the_requests_on_the_smaller_one_are_done(
    run: Callable[..., None],
) -> None:
    async def story(scheduler: Scheduler) -> None:
        async with scheduler.use(SMALL, LoadOptions(num_ctx=256), None) as (first, _):
            larger = asyncio.create_task(_num_ctx(scheduler, 512))
            await asyncio.sleep(0.01)
            assert not larger.done()
            assert first.plan.num_ctx == 256
        assert await larger == 512
        assert len(FakeWorker.alive) == 1

    run(story)


async def _num_ctx(scheduler: Scheduler, wanted: int) -> int:
    async with scheduler.use(SMALL, LoadOptions(num_ctx=wanted), None) as (loaded, _):
        return loaded.plan.num_ctx


def test_a_worker_that_dies_is_replaced(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        async with scheduler.use(SMALL, NOTHING, None) as (loaded, _):
            first = await loaded.ready(1)
            assert isinstance(first, FakeWorker)
            first.ended.set()
            FakeWorker.alive.discard(first)
            await loaded.lost(first)
            assert await loaded.ready(5) is not first

    run(story)


def test_an_idle_model_goes_when_its_time_is_up(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        await use(scheduler, SMALL, 0.01)
        await until(lambda: not scheduler.running())

    run(story)


def test_the_engine_is_the_one_that_is_chosen_when_a_model_is_loaded(
    run: Callable[..., None], tmp_path: Path
) -> None:
    root = tmp_path / "home" / "engines"
    binary = root / "mine" / "llama-server"
    binary.parent.mkdir(parents=True)
    binary.touch(mode=0o755)
    (root / "mine" / "engine.json").write_text('{"kind": "cpu"}')

    async def story(scheduler: Scheduler) -> None:
        async with scheduler.use(SMALL, NOTHING, None) as (before, _):
            installed.use(root, "mine")
            async with scheduler.use(OTHER, NOTHING, None) as (after, _):
                assert (before.plan.binary, after.plan.binary) == ("", str(binary))
        await scheduler.unload(SMALL)
        binary.unlink()
        with pytest.raises(EngineFailed, match="'mine' is chosen"):
            await use(scheduler, SMALL)

    run(story)


def test_a_binary_that_the_settings_name_goes_first(run: Callable[..., None]) -> None:
    async def story(scheduler: Scheduler) -> None:
        async with scheduler.use(SMALL, NOTHING, None) as (loaded, _):
            assert loaded.plan.binary == "/opt/llama-server"

    run(story, llama_server="/opt/llama-server")


def test_terms_that_change_while_a_load_is_planned_count(
    tmp_path: Path, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(scheduler: Scheduler) -> None:
        shelf, terms = Changing(tmp_path / "model.gguf"), TermsTable()
        monkeypatch.setattr(scheduler, "_library", shelf)
        monkeypatch.setattr(scheduler, "_terms", terms)
        await use(scheduler, SMALL)
        (first,) = scheduler.loaded()
        terms.put(SMALL, Terms(max_num_ctx=1024, is_pinned=True))
        shelf.meanwhile = lambda: terms.put(SMALL, NONE)
        await use(scheduler, SMALL)
        assert scheduler.loaded() == (first,)  # for what is loaded is right again
        terms.put(OTHER, Terms(max_num_ctx=1024, is_pinned=True))
        shelf.meanwhile = lambda: terms.put(OTHER, NONE)
        await use(scheduler, OTHER)
        (second,) = set(scheduler.loaded()) - {first}
        assert (second.plan.num_ctx, second.keep_alive_s) == (4096, first.keep_alive_s)

    run(story)


MIB = 1 << 20


def wide_model(tmp_path: Path) -> GGUF:
    """Put a model on the shelf whose contexts take memory: 2 GiB each in f16."""
    sizes = {"context_length": 8192, "block_count": 32, "embedding_length": 4096, "attention.head_count": 32}
    (tmp_path / "model.gguf").write_bytes(tiny_model({f"llama.{name}": it for name, it in sizes.items()}))
    return headers.header(tmp_path / "model.gguf")


def need_bytes(facts: GGUF, num_slots: int, **more: Any) -> int:
    """What a model of so many slots takes."""
    sizes = {"num_ctx": 4096, "num_batch": 512, "num_ubatch": 512, "num_thread": 1, "num_gpu": 0} | more
    return memory_need_bytes(LaunchPlan("", Endpoint(), num_slots=num_slots, **sizes), facts)


@pytest.mark.parametrize(
    ("settings", "room_for", "gets", "less"),
    [
        ({}, (3, {}), (2, "f16", 4096), ("2 of 4 slots",)),
        ({"num_parallel": 2}, (3, {}), (2, "f16", 4096), ()),
        (
            {},
            (1, {"num_ctx": 2560}),
            (1, "q8_0", 4096),
            ("1 of 4 slots", "its contexts in q8_0, not f16"),
        ),
        ({"kv_cache_type": "f16"}, (1, {"num_ctx": 2560}), (1, "f16", 2048), None),
        ({"num_parallel": 2, "context_length": 4096}, (1, {"num_ctx": 6144}), (2, "q8_0", 4096), None),
    ],
)
def test_memory_decides_what_nobody_has_said_and_that_is_told(
    *,
    tmp_path: Path,
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    room_for: tuple[int, dict[str, Any]],
    gets: tuple[int, str, int],
    less: tuple[str, ...] | None,
) -> None:
    async def story(scheduler: Scheduler) -> None:
        await use(scheduler, SMALL, 60)
        await use(scheduler, SMALL, 60)  # who asks for nothing has no other one loaded
        (row,) = scheduler.running()
        assert len(FakeWorker.alive) == 1
        assert (row.num_slots, row.kv_cache_type, row.num_ctx) == gets
        assert less is None or row.less == less

    facts = wide_model(tmp_path)
    num_slots, more = room_for
    room_bytes = need_bytes(facts, num_slots, **more)
    monkeypatch.setattr(machine, "memory_bytes", lambda: (room_bytes, room_bytes))
    run(story, **settings)


def test_what_cannot_fit_is_refused_before_it_harms_what_runs(
    tmp_path: Path, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(scheduler: Scheduler) -> None:
        await use(scheduler, SMALL, 60)
        workers = set(FakeWorker.alive)
        with pytest.raises(NoRoom, match="cannot load small:latest") as refused:
            await _num_ctx(scheduler, 8192)
        assert refused.value.hint == "With num_ctx 4096 (7680 with HUTCH_KV_CACHE_TYPE=q8_0) it would fit."
        monkeypatch.setattr(machine, "memory_bytes", lambda: (MIB, MIB))
        with pytest.raises(NoRoom, match="has 1 MiB to give"):
            await use(scheduler, OTHER)
        assert FakeWorker.alive == workers

    facts = wide_model(tmp_path)
    room_bytes = need_bytes(facts, 1)
    monkeypatch.setattr(machine, "memory_bytes", lambda: (room_bytes, room_bytes))
    monkeypatch.setattr(machine, "held_bytes", lambda _pid: 0)
    run(story, num_parallel=1, kv_cache_type="f16")


def test_what_a_loaded_model_was_given_and_has_not_taken_yet_is_not_free(
    tmp_path: Path, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(scheduler: Scheduler) -> None:
        for name in (SMALL, OTHER):
            await use(scheduler, name, 60)
        assert [row.model.name for row in scheduler.running()] == [OTHER]

    facts = wide_model(tmp_path)
    room_bytes = need_bytes(facts, 1) * 3 // 2
    monkeypatch.setattr(machine, "memory_bytes", lambda: (room_bytes, room_bytes))
    monkeypatch.setattr(machine, "held_bytes", lambda _pid: MIB)
    run(story, num_parallel=1, kv_cache_type="f16", context_length=4096)
