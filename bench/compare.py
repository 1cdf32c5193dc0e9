"""Servers asked in turn, and what came of it.

Prompts differ but are equally long, so each turn gives pairs of figures that saw the same machine. The answer is the
median of the ratios of these pairs.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException

from bench.figures import Line, Turn, line
from bench.fleet import Fleet
from bench.prompts import Prompts
from bench.servers import Peer
from bench.workloads import Done, Workload
from hutch.core.errors import HutchError

PAUSE_S = 0.05  # an engine's compute threads spin a little after their last token
_FAILURES = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    HTTPException,
    HutchError,
    subprocess.SubprocessError,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, which server is the base of the ratios, and when to stop."""

    workloads: tuple[Workload, ...]
    base: str
    rounds: int = 5
    seed: int = 0
    limit_s: float = 5400


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured. A run that reached its time limit has fewer turns."""

    peers: tuple[Peer, ...]
    plan: Plan
    turns: list[Turn]
    was_cut: bool

    def of(self, workload: str) -> list[Turn]:
        """The turns of a workload."""
        return [turn for turn in self.turns if turn.workload == workload]

    @property
    def lines(self) -> list[Line]:
        """Every figure of every server that was asked for it."""
        return [
            line(turns, figure, peer.name, self.plan.base)
            for workload in self.plan.workloads
            if (turns := self.of(workload.name))
            for figure in workload.figures
            for peer in self.peers
            if workload.needs in peer.offers
        ]

    @property
    def failed(self) -> set[str]:
        """The servers that did not answer something."""
        return {server for turn in self.turns for server in turn.errors}

    @property
    def errors(self) -> dict[str, int]:
        """What the servers failed to answer, and how often."""
        found: dict[str, int] = {}
        for turn in self.turns:
            for server, errors in turn.errors.items():
                for error in errors:
                    said = f"{turn.workload}, {server}: {error}"
                    found[said] = found.get(said, 0) + 1
        return found


async def compare(fleet: Fleet, peers: Sequence[Peer], plan: Plan) -> Report:
    """Run the plan. A first round with one turn of each workload warms the servers up and is not counted."""
    prompts = Prompts(plan.seed)
    order = random.Random(plan.seed)
    stop_s = time.perf_counter() + plan.limit_s
    turns: list[Turn] = []
    for round_ in range(plan.rounds + 1):
        for workload in plan.workloads:
            for _ in range(_num_turns(workload, round_)):
                if time.perf_counter() > stop_s:
                    return Report(tuple(peers), plan, turns, was_cut=True)
                able = [peer for peer in peers if workload.needs in peer.offers]
                # Another order each time, so that what one leaves behind does not always hit the same one.
                done = {
                    peer.name: await _done(fleet, peer, workload, prompts)
                    for peer in order.sample(able, len(able))
                }
                if round_:
                    turns.append(_turn(round_, workload, done))
        print(f"round {round_} of {plan.rounds}{'' if round_ else ' (warm-up)'}", file=sys.stderr)
    return Report(tuple(peers), plan, turns, was_cut=False)


def _num_turns(workload: Workload, round_: int) -> int:
    """How often in this round; what starts servers of its own has nothing to warm."""
    if workload.is_once or workload.needs == "process":
        return workload.turns if round_ == 1 or (round_ and not workload.is_once) else 0
    return workload.turns if round_ else 1


async def _done(fleet: Fleet, peer: Peer, workload: Workload, prompts: Prompts) -> Done:
    """What a server did. One that fails is reported, and the others go on."""
    try:
        return await workload.run(fleet, peer, prompts)
    except _FAILURES as error:
        return Done({}, error=f"{type(error).__name__}: {error}")
    finally:
        await asyncio.sleep(PAUSE_S)


def _turn(round_: int, workload: Workload, done: dict[str, Done]) -> Turn:
    return Turn(
        round_,
        workload.name,
        {
            name: {server: each.values.get(name) for server, each in done.items()}
            for name, _ in workload.figures
        },
        {server: each.errors for server, each in done.items() if each.errors},
        {server: [sample.prompt_tokens for sample in each.samples] for server, each in done.items()},
        {server: [sample.tokens for sample in each.samples] for server, each in done.items()},
        {server: each.num_short for server, each in done.items() if each.num_short},
    )
