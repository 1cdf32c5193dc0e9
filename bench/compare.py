"""Compare servers on this machine: `python -m bench.compare --help`.

The servers are asked in turn with prompts that differ but are equally long, so each turn gives a pair of figures that
saw the same machine. The answer is the median of the ratios of these pairs.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.figures import Line, Turn, as_json, line, table
from bench.load import Server, ask_at_once, body
from bench.workloads import WORKLOADS, Prompts, Workload

PAUSE_S = 0.05  # an engine's compute threads spin a little after their last token


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure and when to stop."""

    model: str
    rounds: int = 5
    workloads: tuple[Workload, ...] = WORKLOADS
    seed: int = 0
    limit_s: float = 900
    timeout_s: float = 120


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured. A run that reached its time limit has fewer turns."""

    servers: tuple[Server, ...]
    plan: Plan
    turns: list[Turn]
    was_cut: bool

    @property
    def baseline(self) -> str:
        """The server that the others are compared with: the last one."""
        return self.servers[-1].name

    @property
    def lines(self) -> list[Line]:
        """Every figure of every server."""
        found = []
        for workload in self.plan.workloads:
            turns = [turn for turn in self.turns if turn.workload == workload.name]
            for metric in workload.metrics if turns else ():
                found += [
                    line(turns, (metric.name, metric.unit), server.name, self.baseline)
                    for server in self.servers
                ]
        return found

    @property
    def errors(self) -> list[str]:
        """What the servers failed to answer."""
        return [
            f"{turn.workload}, {server}: {error}"
            for turn in self.turns
            for server, errors in turn.errors.items()
            for error in errors
        ]

    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        content: dict[str, Any] = {
            "seed": self.plan.seed,
            "model": self.plan.model,
            "rounds": self.plan.rounds,
            "was_cut": self.was_cut,
            "machine": machine | {"load_average": os.getloadavg()},
            "servers": [asdict(server) for server in self.servers],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content | as_json(self.lines, self.turns), indent=1) + "\n")


async def compare(servers: Sequence[Server], plan: Plan) -> Report:
    """Run the plan. A first round with one turn of each workload warms the servers up and is not counted."""
    prompts = Prompts(plan.seed)
    order = random.Random(plan.seed)
    stop_s = time.perf_counter() + plan.limit_s
    turns: list[Turn] = []
    for round_ in range(plan.rounds + 1):
        for workload in plan.workloads:
            for _ in range(workload.turns if round_ else 1):
                if time.perf_counter() > stop_s:
                    return Report(tuple(servers), plan, turns, was_cut=True)
                # Another order each time, so that what one leaves behind does not always hit the same one.
                turn = await _turn(order.sample(servers, len(servers)), workload, plan, prompts)
                if round_:
                    turns.append(Turn(round_, workload.name, *turn))
        print(f"round {round_} of {plan.rounds}{'' if round_ else ' (warm-up)'}", file=sys.stderr)
    return Report(tuple(servers), plan, turns, was_cut=False)


async def _turn(
    servers: Sequence[Server], workload: Workload, plan: Plan, prompts: Prompts
) -> tuple[dict[str, dict[str, float | None]], dict[str, list[str]], list[int], dict[str, list[int]]]:
    values: dict[str, dict[str, float | None]] = {metric.name: {} for metric in workload.metrics}
    errors: dict[str, list[str]] = {}
    tokens: dict[str, list[int]] = {}
    prompt_tokens: list[int] = []
    for server in servers:
        first, counted = (
            [body(server.dialect, plan.model, chat, workload.max_tokens) for chat in chats]
            for chats in prompts.turn(workload)
        )
        if first:
            await ask_at_once(server, first, plan.timeout_s)
        samples = await ask_at_once(server, counted, plan.timeout_s)
        failed = [sample.error for sample in samples if sample.error]
        if failed:
            errors[server.name] = failed
        for metric in workload.metrics:
            values[metric.name][server.name] = None if failed else metric.of(samples)
        tokens[server.name] = [sample.tokens for sample in samples]
        prompt_tokens += [sample.prompt_tokens for sample in samples]
        await asyncio.sleep(PAUSE_S)
    return values, errors, prompt_tokens, tokens


def print_report(report: Report) -> None:
    """Print the table, and what makes its figures doubtful."""
    print(table(report.lines, report.baseline))
    for workload in report.plan.workloads:
        turns = [turn for turn in report.turns if turn.workload == workload.name]
        lengths = {length for turn in turns for length in turn.prompt_tokens if length}
        if len(lengths) > 1:
            print(f"note: {workload.name}: prompts have {min(lengths)} to {max(lengths)} tokens")
        counts = [count for turn in turns for some in turn.tokens.values() for count in some]
        if short := sum(count < workload.max_tokens for count in counts):
            print(
                f"note: {workload.name}: {short} of {len(counts)} answers ended before {workload.max_tokens}"
            )
    if report.was_cut:
        print(f"note: stopped after {report.plan.limit_s:g} s with {len(report.turns)} turns")
    for error in report.errors[:20]:
        print(f"error: {error}")


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every comparison has."""
    parser.add_argument("--model", required=True, help="the model's name, as the servers know it")
    parser.add_argument("--rounds", type=int, choices=range(1, 101), default=5, metavar="1-100")
    parser.add_argument(
        "--only", action="append", choices=[workload.name for workload in WORKLOADS], help="this workload"
    )
    parser.add_argument("--limit-s", type=float, default=900, help="stop after this time (900)")
    parser.add_argument(
        "--timeout-s", type=float, default=120, help="give a request up after this time (120)"
    )
    parser.add_argument(
        "--seed", type=int, help="of the prompts; a repeated one may meet its own cached prompts"
    )
    parser.add_argument("--json", type=Path, default=Path("bench/results/compare.json"), metavar="FILE")


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan that these options ask for."""
    return Plan(
        arguments.model,
        arguments.rounds,
        tuple(load for load in WORKLOADS if not arguments.only or load.name in arguments.only),
        random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed,
        arguments.limit_s,
        arguments.timeout_s,
    )


def _server(text: str) -> Server:
    try:
        return Server.parse(text)
    except ValueError as error:  # argparse would keep its reason for itself
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> int:
    """Compare the servers that are named."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument(
        "--server",
        action="append",
        required=True,
        type=_server,
        metavar="NAME=PLACE,DIALECT",
        help="http://127.0.0.1:PORT or unix:/PATH; openai or ollama; repeat it; the last one is the baseline",
    )
    add_plan_arguments(parser)
    arguments = parser.parse_args()
    if len({server.name for server in arguments.server}) < len(arguments.server):
        parser.error("two servers have the same name")
    report = asyncio.run(compare(arguments.server, plan_of(arguments)))
    print_report(report)
    report.write(arguments.json)
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
