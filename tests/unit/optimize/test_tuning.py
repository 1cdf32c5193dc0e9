"""What tuning tries, and what it takes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from hutch.core.errors import EngineFailed
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.formats.gguf import GGUF, Tensor
from hutch.optimize import tuning
from hutch.optimize.tuning import Pace, Trial, is_lost, questions, sizes
from hutch.runtime import machine
from hutch.runtime.tuned import DEFAULTS, Values

PLAN = LaunchPlan(
    "w", Endpoint(), num_ctx=4096, num_slots=1, num_batch=512, num_ubatch=512, num_thread=4, num_gpu=0
)
SLOW, FAST = Pace(700, 150), Pace(20_000, 100)
FACTS = GGUF(3, {}, (Tensor("a", (8, 8), "Q4_0", 0, 1),), 1)


def asked(
    plan: LaunchPlan = PLAN, facts: GGUF = FACTS, processors: int = 4, pace: Pace = SLOW
) -> list[dict[str, Any]]:
    return [values.said for question in questions(plan, facts, processors, pace) for values in question]


@pytest.mark.parametrize(
    ("cores", "processors", "threads"),
    [
        (1, 1, []),
        (1, 2, [2]),
        (2, 2, [1]),
        (2, 4, [4, 1]),
        (4, 4, [3, 2]),
        (16, 32, [32, 15, 8]),
        (16, 64, [32, 15, 8]),
    ],
)
def test_other_numbers_of_threads_are_tried(cores: int, processors: int, threads: list[int]) -> None:
    found = asked(replace(PLAN, num_thread=cores), processors=processors)
    assert [each["num_thread"] for each in found if "num_thread" in each] == threads


def test_a_large_batch_is_tried_only_where_a_step_of_it_stays_short() -> None:
    assert not any("num_batch" in each for each in asked())
    assert {"num_batch": 2048, "num_ubatch": 2048} in asked(pace=FAST)
    assert {"num_ubatch": 128} in asked()


def test_weights_are_tried_unpacked_only_where_an_engine_would_pack_them() -> None:
    assert {"repack": False} in asked()
    assert {"repack": False} not in asked(facts=replace(FACTS, tensors=(Tensor("a", (8,), "F16", 0, 1),)))


@pytest.mark.parametrize(
    ("ratios", "is_better"),
    [
        ((), False),
        ((1.5, 1.5), False),
        ((1.04, 1.04, 1.04), True),
        ((1.029, 1.029, 1.029, 1.029, 1.029), False),  # within what two alike differ by
        ((1.1, 0.99, 1.1, 1.1, 1.1), True),
        ((1.1, 0.99, 1.1, 0.99, 1.1), False),  # noise
        ((0.9, 0.9, 0.9), False),
    ],
)
def test_what_is_not_clearly_better_is_not_better(ratios: tuple[float, ...], is_better: bool) -> None:
    assert Trial(DEFAULTS, ratios).is_better is is_better


@pytest.mark.parametrize(
    ("ratios", "lost"), [([0.5], False), ([0.9, 0.9, 1.1], True), ([1.01, 1.01, 0.5], False)]
)
def test_what_loses_is_not_tried_to_the_end(ratios: list[float], lost: bool) -> None:
    assert is_lost(ratios) is lost


@pytest.mark.parametrize(
    ("pace", "turn_s", "found"),
    [
        (Pace(1000, 100), 1.5, (512, 32)),
        (Pace(100, 10), 1.5, (92, 8)),
        (Pace(1, 0.1), 1.5, (64, 8)),
        (Pace(20_000, 200), 1.5, (1536, 32)),
    ],
)
def test_a_turn_of_a_slow_model_is_smaller(pace: Pace, turn_s: float, found: tuple[int, int]) -> None:
    assert sizes(pace, turn_s) == found


class Scripted(tuning._Search):
    """A search whose workers have paces that are made up."""

    def __init__(self, pace_of: Callable[[Values], Pace]) -> None:
        super().__init__(PLAN, FACTS, None, 60)  # type: ignore[arg-type]
        self._pace_of = pace_of

    def _launched(self, values: Values) -> Any:
        @asynccontextmanager
        async def fake() -> AsyncIterator[Values]:
            self._pace_of(values)
            yield values

        return fake()

    async def _pace(self, worker: Any) -> Pace:
        await asyncio.sleep(0)
        return self._pace_of(worker)


def searched(
    monkeypatch: pytest.MonkeyPatch, pace_of: Callable[[Values], Pace], said: frozenset[str] = frozenset()
) -> tuple[Values, float, tuple[Trial, ...], bool, list[Progress]]:
    monkeypatch.setattr(machine, "processors", lambda: set(range(4)))
    told: list[Progress] = []

    async def whole() -> tuple[Values, float, tuple[Trial, ...], bool]:
        return await Scripted(pace_of).run(said, ModelName.parse("tiny"), told.append)

    return *asyncio.run(whole()), told


def test_changes_that_are_faster_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def pace_of(values: Values) -> Pace:
        return Pace(
            100 * (1.3 if values.num_thread == 3 else 1.2 if values.num_thread == 2 else 1),
            10 if values.flash_attention is None else 11,
        )

    values, gain, trials, is_whole, told = searched(monkeypatch, pace_of)
    assert values == Values(num_thread=3, flash_attention=False)
    assert gain == pytest.approx((1.3 * 1.1) ** 0.5)
    assert (len(trials), is_whole) == (6, True)
    assert (told[-1].completed, told[-1].total) == (7, 7)


def test_what_gives_to_one_and_takes_from_the_other_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    values, gain, *_ = searched(
        monkeypatch, lambda values: Pace(200, 5) if values.num_thread == 3 else Pace(100, 10)
    )
    assert (values, gain) == (DEFAULTS, 1.0)


def test_what_was_said_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    said = frozenset(("num_thread", "num_batch", "num_ubatch"))
    _, _, trials, *_ = searched(monkeypatch, lambda _values: SLOW, said)
    assert [trial.values.said for trial in trials] == [{"repack": False}, {"flash_attention": False}]


def test_what_an_engine_cannot_do_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def pace_of(values: Values) -> Pace:
        if values.repack is False:
            raise EngineFailed("unknown flag")
        return SLOW

    values, _, trials, *_ = searched(monkeypatch, pace_of)
    assert values == DEFAULTS
    assert [trial.problem for trial in trials if trial.problem] == ["unknown flag"]


def test_when_the_time_is_over_what_is_not_sure_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "_within", lambda _self, share: asyncio.timeout(0 if share < 1 else 60))
    values, gain, trials, is_whole, _ = searched(
        monkeypatch, lambda values: FAST if values.num_thread else SLOW
    )
    assert (values, gain, trials, is_whole) == (DEFAULTS, 1.0, (), False)
