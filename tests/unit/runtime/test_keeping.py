"""What outlives a worker: saved, found again by its principal alone, and never anybody's error."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hutch.core.access import Principal
from hutch.core.errors import BadInput
from hutch.engines.client import WorkerClient, WorkerGone
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.runtime import keeping
from hutch.runtime.keeping import Keeping, States, can_keep, setting_of
from hutch.runtime.onnx_launch import RanOn
from hutch.runtime.slots import Slot
from hutch.store import kept
from tests.unit.runtime.things import facts, onnx_facts

ANNA, BERT = Principal("anna"), Principal("bert")
DIGEST = "d" * 64
PROMPT = "It was a dark and stormy night. " * 40
PLAN = LaunchPlan("w", Endpoint(), num_ctx=4096, num_slots=4, num_batch=512, num_ubatch=512, num_thread=1)
STATE = bytes(range(256)) * 9000  # more than a part


class Engine(WorkerClient):
    """Writes a state where it is told to, and reads what it is told to."""

    def __init__(self, num_tokens: int = 2000) -> None:
        super().__init__(Endpoint())
        self.slots = {0: (STATE, num_tokens)}
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, path: str, timeout_s: float = 5.0) -> Any:
        """The slots."""
        assert path == "/slots"
        return [{"id": slot, "n_prompt_tokens": num} for slot, (_, num) in self.slots.items()]

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        """Save or restore."""
        self.asked.append(path)
        await self.gate.wait()
        if self.failure:
            raise self.failure
        await asyncio.to_thread(self._moved, path, Path(f"/proc/{os.getpid()}/fd/{body['filename']}"))
        return {}

    def _moved(self, path: str, file: Path) -> None:
        slot = int(path.removeprefix("/slots/").partition("?")[0])
        if path.endswith("save"):
            file.write_bytes(self.slots[slot][0])
        else:
            self.slots[slot] = file.read_bytes(), 2000


@pytest.fixture
def ours(tmp_path: Path) -> Keeping:
    """A server's keeping, with its secret found."""
    made = Keeping(tmp_path / "kv", 10**8, lambda: b"s" * 32)
    deadline = time.monotonic() + 5
    while made.secret is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return made


def states(ours: Keeping, **changed: Any) -> States:
    """The states of a model that is loaded anew."""
    return States(ours, DIGEST, {**setting_of(PLAN, None), **changed}, 100)


def slot(prompt: str = PROMPT, who: Principal = ANNA) -> Slot:
    """A slot after an answer."""
    return Slot(0, who, prompt)


def told(story: Callable[[Engine], Awaitable[None]]) -> None:
    """Run a story with an engine."""

    async def whole() -> None:
        await asyncio.wait_for(story(Engine()), 10)

    asyncio.run(whole())


def test_a_state_comes_back_to_its_principal_for_a_prompt_that_begins_alike(ours: Keeping) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        later, fresh = states(ours), Engine()
        match = await later.best(ANNA, PROMPT + "And then?")
        assert match is not None
        assert match.shared == len(PROMPT)
        assert await later.bring(ANNA, match, fresh, 3)
        assert fresh.slots[3][0] == STATE
        assert fresh.asked == ["/slots/3?action=restore"]

    told(story)


def test_it_is_nobody_elses_and_of_no_other_setting(ours: Keeping) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        assert await states(ours).best(BERT, PROMPT) is None
        for changed in ({"num_ctx": 512}, {"kv_cache_type": "q8_0"}, {"engine": "another"}, {"num_slots": 1}):
            assert await states(ours, **changed).best(ANNA, PROMPT) is None
        assert await States(ours, "e" * 64, setting_of(PLAN, None), 100).best(ANNA, PROMPT) is None

    told(story)


def test_a_file_under_another_principals_name_opens_for_nobody(ours: Keeping) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        await states(ours).keep(engine, [slot(who=BERT)])
        annas = await states(ours).best(ANNA, PROMPT)
        berts = await states(ours).best(BERT, PROMPT)
        assert annas
        assert berts
        berts.path.write_bytes(annas.path.read_bytes())
        assert await states(ours).best(BERT, PROMPT) is None
        assert not berts.path.exists()

    told(story)


def test_nothing_that_was_said_can_be_read_on_the_disk(ours: Keeping) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        (path,) = (path for path in ours.root.rglob("*") if path.is_file())
        data = path.read_bytes()
        assert b"stormy" not in data
        assert STATE[:64] not in data
        assert "anna" not in str(path)

    told(story)


@pytest.mark.parametrize("prompt", ["It was", "Another beginning " + PROMPT, "x" * 600])
def test_a_state_is_not_fetched_for_little(ours: Keeping, prompt: str) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        assert await states(ours).best(ANNA, prompt) is None

    told(story)


def test_a_short_prompt_is_not_kept_and_a_longer_one_takes_the_place_of_its_beginning(ours: Keeping) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(Engine(num_tokens=255), [slot()])
        assert kept.size_bytes(ours.root) == 0
        for prompt in (PROMPT, "Other " + PROMPT, PROMPT + "And then? " * 9):
            await states(ours).keep(engine, [slot(prompt)])
        files = [path for path in ours.root.rglob("*") if path.is_file()]
        assert len(files) == 2

    told(story)


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_damaged_state_is_removed_and_not_used(ours: Keeping, length: int) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        later = states(ours)
        match = await later.best(ANNA, PROMPT)
        assert match
        match.path.write_bytes(match.path.read_bytes()[:length])
        assert not await later.bring(ANNA, match, engine, 1)
        assert engine.asked == ["/slots/0?action=save"]
        assert not match.path.exists()
        assert await later.best(ANNA, PROMPT) is None

    told(story)


@pytest.mark.parametrize(
    ("failure", "stays"), [(BadInput("Unable to restore slot"), False), (WorkerGone("it died"), True)]
)
def test_what_the_engine_refuses_is_removed(ours: Keeping, failure: Exception, stays: bool) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        engine.failure = failure
        match = await states(ours).best(ANNA, PROMPT)
        assert match
        later = states(ours)
        assert await later.best(ANNA, PROMPT) == match
        assert not await later.bring(ANNA, match, engine, 1)
        assert match.path.exists() == stays

    told(story)


def test_a_full_disk_is_logged_and_hurts_nobody(
    ours: Keeping, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "put", full)
    told(lambda engine: states(ours).keep(engine, [slot()]))
    assert "a prompt is not kept: [Errno 28]" in caplog.text


def test_a_model_goes_though_its_engine_does_not_answer(
    ours: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_WITHIN_S", 0.05)

    async def story(engine: Engine) -> None:
        engine.gate.clear()
        saving = states(ours)
        began = time.monotonic()
        await saving.keep(engine, [slot()])
        assert time.monotonic() - began < 2
        engine.failure = WorkerGone("it was ended")
        engine.gate.set()
        await asyncio.gather(*saving._working)
        assert kept.size_bytes(ours.root) == 0

    told(story)


def test_time_that_runs_out_while_a_state_is_sealed_leaves_nothing(
    ours: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(engine: Engine) -> None:
        saving = states(ours)
        with keeping._memory() as file:
            file.write(STATE)
            file.flush()
            with pytest.raises(TimeoutError):
                saving._seal(ANNA, PROMPT, file, time.monotonic() - 1)
        assert kept.size_bytes(ours.root) == 0

    told(story)


def test_a_slot_is_held_until_the_engine_has_filled_it_whoever_leaves(ours: Keeping) -> None:
    async def story(engine: Engine) -> None:
        await states(ours).keep(engine, [slot()])
        later = states(ours)
        match = await later.best(ANNA, PROMPT)
        assert match
        engine.gate.clear()
        bringing = asyncio.create_task(later.bring(ANNA, match, engine, 2))
        while len(engine.asked) < 2:
            await asyncio.sleep(0.001)
        bringing.cancel()
        await asyncio.sleep(0.01)
        assert not bringing.done()
        engine.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await bringing
        assert engine.slots[2][0] == STATE

    told(story)


def test_without_a_secret_nothing_is_kept(tmp_path: Path) -> None:
    async def story(engine: Engine) -> None:
        without = States(Keeping(tmp_path / "none", 10**8, lambda: None), DIGEST, {}, 100)
        await without.keep(engine, [slot()])
        assert await without.best(ANNA, PROMPT) is None
        assert engine.asked == []

    told(story)


def test_what_would_not_fit_is_not_even_written(ours: Keeping) -> None:
    async def story(engine: Engine) -> None:
        await States(ours, DIGEST, {}, 10**6).keep(engine, [slot()])
        assert engine.asked == []

    told(story)


ONNX = replace(PLAN, engine="onnx")
OURS, THEIRS = RanOn("", (), "onnxruntime", "1", "cpu"), RanOn("", (), "onnxruntime-genai", "1", "cpu")


@pytest.mark.parametrize(
    ("plan", "said", "ran_on", "can"),
    [
        (PLAN, facts(), None, True),
        (replace(PLAN, binary="llama-server"), facts(), None, True),
        (PLAN, facts(llama__attention__sliding_window=512), None, True),
        (replace(PLAN, binary="llama-server"), facts(llama__attention__sliding_window=512), None, False),
        (replace(PLAN, draft="small.gguf"), facts(), None, False),
        (replace(PLAN, projector="eyes.gguf"), facts(), None, False),
        (PLAN, facts(llama__pooling_type=1), None, False),
        (ONNX, onnx_facts(), OURS, True),
        (ONNX, onnx_facts(), THEIRS, False),
        (ONNX, onnx_facts(), None, False),
    ],
)
def test_what_can_be_kept(plan: LaunchPlan, said: Any, ran_on: RanOn | None, can: bool) -> None:
    assert can_keep(plan, said, ran_on) is can


def test_a_state_belongs_to_one_build_of_an_engine(tmp_path: Path) -> None:
    binary = tmp_path / "llama-server"
    binary.write_text("one")
    plan = replace(PLAN, binary=str(binary))
    one = setting_of(plan, None)
    assert setting_of(plan, None) == one
    binary.write_text("another")
    assert len({str(each) for each in (one, setting_of(plan, None), setting_of(PLAN, None))}) == 3
    assert setting_of(ONNX, OURS) != setting_of(ONNX, OURS._replace(provider="openvino"))
