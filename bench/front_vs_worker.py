"""What Hutch's front costs: `python -m bench.front_vs_worker --models FOLDER --model smollm2:135m`.

Starts a server, loads the model, and compares the front, in both dialects, with the socket of that very model's worker.
Exit status 1 when a target is missed.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.compare import Report, add_plan_arguments, compare, plan_of, print_report
from bench.figures import Line
from bench.load import Server
from bench.serve import Serving, serving

CONTROL = "worker again"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure of the front must reach, set against the worker's."""

    workload: str
    metric: str
    least_ratio: float | None = None
    most_difference: float | None = None

    def verdict(self, line: Line) -> tuple[bool, str]:
        """Whether it holds, and a sentence that says so."""
        if self.least_ratio is not None and line.ratio is not None:
            value, limit, holds = (
                line.ratio.median,
                f"≥ {self.least_ratio}",
                line.ratio.median >= self.least_ratio,
            )
        elif self.most_difference is not None and line.difference is not None:
            value, limit = line.difference.median, f"≤ {self.most_difference:g} {line.unit} more"
            holds = value <= self.most_difference
        else:
            return False, f"not measured: {line.server}, {self.workload}, {self.metric}"
        return holds, f"{'holds' if holds else 'MISSED'}: {line.server}, {self.metric}: {value:.3f} ({limit})"


TARGETS = (
    Target("short chat", "first token", most_difference=2.0),
    Target("one stream", "decode", least_ratio=0.98),
    Target("8 at once", "total", least_ratio=0.97),
)


def verdicts(report: Report) -> list[tuple[bool, str]]:
    """How each target stands for each dialect of the front."""
    return [
        target.verdict(line)
        for target in TARGETS
        for line in report.lines
        if (line.workload, line.metric) == (target.workload, target.metric)
        and line.server not in (report.baseline, CONTROL)
    ]


def servers(running: Serving, socket: str) -> list[Server]:
    """The front in both dialects and, as the baseline, the worker behind it; that once more shows the noise."""
    return [
        Server("openai", "openai", running.url),
        Server("ollama", "ollama", running.url),
        Server(CONTROL, "openai", "http://localhost", socket),
        Server("worker", "openai", "http://localhost", socket),
    ]


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.front_vs_worker", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="the models folder")
    add_plan_arguments(parser)
    arguments = parser.parse_args()
    plan = plan_of(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="hutch-bench-") as home,
        serving(Path(home), arguments.models.resolve()) as running,
    ):
        worker = running.load(plan.model)
        print(f"engine {worker['engine']}, worker {worker['pid']}, {worker['state']}", file=sys.stderr)
        report = asyncio.run(compare(servers(running, worker["socket"]), plan))
    print_report(report)
    report.write(arguments.json)
    judged = verdicts(report)
    print("\n".join(sentence for _, sentence in judged))
    return 0 if judged and not report.errors and all(holds for holds, _ in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
