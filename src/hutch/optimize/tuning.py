"""How a model is best launched on this machine: a short measurement by the worker that serves it.

One thing is changed at a time. Two workers, one with it and one without, are asked the same in turns, so that a slow minute of the machine
hits both; what is not clearly better stays as it is by default. Nothing is changed that would make answers worse.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from hutch import config, places
from hutch.core.chat import LoadOptions
from hutch.core.errors import BadInput, EngineFailed, FormatError, NoRoom
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.engines.protocol import LaunchPlan
from hutch.formats.gguf import GGUF
from hutch.optimize import texts
from hutch.runtime import machine, planning, terms, tuned
from hutch.runtime.hardware import Inventory
from hutch.runtime.launch import memory_need_bytes, said_of_tuned, with_tuned
from hutch.runtime.tuned import DEFAULTS, Finding, Values
from hutch.runtime.worker import SocketFolder, Worker, with_endpoint
from hutch.store.store import ModelStore

_ROUNDS, _LEAST_ROUNDS = 5, 3
_MIN_GAIN = (
    1.03  # of two workers that are alike, medians were seen to differ by 1 %, and single rounds by 8 %
)
_NUM_CTX = 2048
_PROMPT_TOKENS, _NEW_TOKENS = 512, 32  # at most; fewer where they would take longer than a turn may
_TURNS = 80  # of so many a measurement consists, about; one of 1.5 s, of two minutes
_FOR_TRIALS = 0.85  # of the time; the rest is for the last look at all that was changed
_LEAST_SIZES = 64, 8
_LONG_PROMPT_TOKENS = 1536  # where large batches are tried
_FIRST_S = 60.0  # until the first answer, which does not count as time of the measurement
_STEP_S = 0.25  # a batch that takes longer would keep others waiting
_LARGE_BATCHES = (1024, 2048)
_SMALL_UBATCHES = (256, 128)
_FLOATS = ("F32", "F16", "BF16")


class Pace(NamedTuple):
    """Tokens a second: of a prompt, and of an answer."""

    prefill: float
    decode: float

    @property
    def score(self) -> float:
        """One number to choose by: the geometric mean, so that neither is sold for the other."""
        return math.sqrt(self.prefill * self.decode)


class Trial(NamedTuple):
    """A change that was tried. `ratios`: its score to that without it, round by round."""

    values: Values
    ratios: tuple[float, ...]
    problem: str = ""

    @property
    def gain(self) -> float:
        """How many times as fast, in the median of the rounds."""
        return median(self.ratios) if self.ratios else 0.0

    @property
    def is_better(self) -> bool:
        """Whether the median is 3 % better, and all rounds but one are better at all."""
        is_enough = len(self.ratios) >= _LEAST_ROUNDS
        return is_enough and self.gain >= _MIN_GAIN and sorted(self.ratios)[1] > 1.0


class Found(NamedTuple):
    """What came of it. `is_new` is false where it had been found before; then nothing was tried."""

    finding: Finding
    trials: tuple[Trial, ...] = ()
    is_new: bool = True


def questions(plan: LaunchPlan, facts: GGUF, num_processors: int, pace: Pace) -> list[list[Values]]:
    """What to try, the weightiest first. Of the values in a list only one can be taken."""
    cores = plan.num_thread
    threads = {cores // 2, cores - 1, min(num_processors, 2 * cores)} - {0, cores}
    batches = [
        Values(num_batch=size, num_ubatch=size) for size in _LARGE_BATCHES if pace.prefill * _STEP_S >= size
    ]
    batches += [Values(num_ubatch=size) for size in _SMALL_UBATCHES]
    asked = [[Values(num_thread=number) for number in sorted(threads, reverse=True)], batches]
    if any(each.type_name not in _FLOATS for each in facts.tensors):
        asked.append([Values(repack=False)])
    return [*asked, [Values(flash_attention=False)]]


def is_lost(ratios: Sequence[float]) -> bool:
    """Whether more rounds are not worth their time."""
    return len(ratios) >= _LEAST_ROUNDS and median(ratios) < 1.0


def merged(values: Values, change: Values) -> Values:
    """These values with a change of some."""
    return values._replace(**change.said)


def sizes(pace: Pace, turn_s: float) -> tuple[int, int]:
    """The tokens of a prompt and of an answer, so that one turn takes no longer, if it can."""
    num_prompt = _LONG_PROMPT_TOKENS if pace.prefill * _STEP_S >= min(_LARGE_BATCHES) else _PROMPT_TOKENS
    whole_s = num_prompt / pace.prefill + _NEW_TOKENS / pace.decode
    share = min(1.0, turn_s / whole_s)
    return max(_LEAST_SIZES[0], int(num_prompt * share)), max(_LEAST_SIZES[1], int(_NEW_TOKENS * share))


async def tune(
    store: ModelStore, name: ModelName, tell: Callable[[Progress], None], budget_s: float, *, force: bool
) -> Found:
    """Measure a model, unless that was done under the same conditions, and keep what was found. Raises HutchError."""
    settings = config.load()
    planned = await planning.planned(
        store, name, terms.NONE, LoadOptions(), settings=settings, inventory=Inventory()
    )
    facts, plan = planned.facts, planned.plan
    if plan.engine != "llama.cpp" or not isinstance(facts, GGUF) or facts.is_embedding:
        raise BadInput(f"{name.short} has nothing to tune", hint="GGUF models that write text have.")
    path, now = tuned.place(places.tuned(), facts), tuned.conditions(plan)
    if not force and (known := _known(path, now)) and known.is_whole:
        return Found(known, is_new=False)
    plan = replace(plan, num_ctx=min(plan.num_ctx, _NUM_CTX), num_slots=1)
    need_bytes, (free_bytes, _) = 2 * memory_need_bytes(plan, facts, planned.files), machine.memory_bytes()
    if need_bytes > free_bytes:
        raise NoRoom(
            f"{name.short} is loaded twice while it is tuned, which takes {need_bytes >> 20} MiB, and {free_bytes >> 20} are free",
            hint="Unload other models with `hutch stop`, or tune a smaller one.",
        )
    said = said_of_tuned(planned.model, LoadOptions(), settings)
    sockets = SocketFolder()
    try:
        search = _Search(plan, facts, sockets, budget_s)
        values, gain, trials, is_whole = await search.run(said, name, tell)
    except TimeoutError as error:
        raise EngineFailed(
            f"{name.short} does not answer a short question in time",
            hint="Give it more with --seconds, or try when less is going on.",
        ) from error
    finally:
        sockets.close()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    finding = Finding(now, values, name.short, round(gain, 3), is_whole, at)
    tuned.keep(path, finding)
    return Found(finding, trials)


def _known(path: Path, now: tuned.Conditions) -> Finding | None:
    try:
        return tuned.holding(tuned.read(path), now)
    except FormatError:
        return None  # it is written anew


class _Search:
    """The trials of one model, until all is answered or the time is over."""

    def __init__(self, plan: LaunchPlan, facts: GGUF, sockets: SocketFolder, budget_s: float) -> None:
        self._plan = plan
        self._facts = facts
        self._sockets = sockets
        self._deadline = 0.0  # from the first answer on
        self._budget_s = budget_s
        self._sizes = _LEAST_SIZES
        self._tokens: list[int] = []

    async def run(
        self, said: frozenset[str], name: ModelName, tell: Callable[[Progress], None]
    ) -> tuple[Values, float, tuple[Trial, ...], bool]:
        """The best values, how much faster they are than the defaults, what was tried, and whether that was everything."""
        status = f"tuning {name.short}"
        tell(Progress(status))
        async with asyncio.timeout(max(_FIRST_S, self._budget_s)), self._launched(DEFAULTS) as worker:
            pace = await self._pace(worker)
        self._deadline = time.monotonic() + self._budget_s
        self._sizes = sizes(pace, self._budget_s / _TURNS)
        asked = questions(self._plan, self._facts, len(machine.processors()), pace)
        asked = [[each for each in question if said.isdisjoint(each.said)] for question in asked]
        total = sum(map(len, asked)) + 1
        trials: list[Trial] = []
        values, is_whole = DEFAULTS, True
        for question in asked:
            found: list[Trial] = []
            for change in question:
                tell(Progress(status, total=total, completed=len(trials)))
                trial = await self._tried(values, merged(values, change), _FOR_TRIALS)
                is_whole = is_whole and trial is not None
                found += [trial] if trial else []
            trials += found
            better = [trial for trial in found if trial.is_better]
            values = max(better, key=lambda trial: trial.gain).values if better else values
        tell(Progress(status, total=total, completed=total - 1))
        whole = await self._tried(DEFAULTS, values, 1.0) if values != DEFAULTS else Trial(DEFAULTS, ())
        tell(Progress(status, total=total, completed=total))
        if whole is None or not whole.is_better:
            return DEFAULTS, 1.0, tuple(trials), is_whole and whole is not None
        return values, whole.gain, tuple(trials), is_whole

    async def _tried(self, values: Values, changed: Values, share: float) -> Trial | None:
        """Both in turns; None where the time is over."""
        ratios: list[float] = []
        try:
            async with self._within(share), self._launched(values) as one, self._launched(changed) as other:
                while len(ratios) < _ROUNDS and not is_lost(ratios):
                    first, second = (one, other) if len(ratios) % 2 else (other, one)
                    paces = {first: await self._pace(first), second: await self._pace(second)}
                    ratios.append(paces[other].score / paces[one].score)
        except EngineFailed as error:
            return Trial(changed, (), error.message)
        except TimeoutError:
            return None
        return Trial(changed, tuple(ratios))

    def _within(self, share: float) -> asyncio.Timeout:
        """Until this share of the time is over."""
        left_s = self._deadline - (1.0 - share) * self._budget_s - time.monotonic()
        return asyncio.timeout(max(0.0, left_s))

    @asynccontextmanager
    async def _launched(self, values: Values) -> AsyncIterator[Worker]:
        """A worker with these values that has answered once."""
        plan = with_tuned(self._plan, values, frozenset())
        worker = Worker(with_endpoint(plan, self._sockets.next_endpoint()), places.log_file("tune"))
        await worker.start(max(_FIRST_S, self._budget_s))
        try:
            if not self._tokens:
                text = "\n\n".join(texts.built_in())
                self._tokens = (await worker.client.call("/tokenize", {"content": text}))["tokens"]
            await self._pace(worker)
            yield worker
        finally:
            await asyncio.shield(worker.stop())

    async def _pace(self, worker: Worker) -> Pace:
        num_prompt, num_new = self._sizes
        body = {"prompt": self._tokens[:num_prompt], "n_predict": num_new, "ignore_eos": True}
        more = {"temperature": 0, "cache_prompt": False, "id_slot": 0}
        timings = (await worker.client.call("/completion", body | more))["timings"]
        return Pace(float(timings["prompt_per_second"]), float(timings["predicted_per_second"]))
