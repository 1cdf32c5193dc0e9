"""What Hutch must reach beside others, as data, and the verdict on each. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.compare import Report
from bench.figures import Line, line
from bench.servers import Peer

OLLAMA = ("ollama", "yardstick")  # the first of them that takes part
ENGINE = ("llama-server", "worker")


@dataclass(frozen=True, slots=True)
class Target:
    """How much better a figure must be than another server's: so many times, or at most so much worse. One is enough."""

    workload: str
    figure: str
    bases: tuple[str, ...]
    must: float
    aim: float
    within: float | None = None  # in the figure's unit
    server: str = "hutch-built"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target for one server; no figure where one of both was not measured."""

    target: Target
    server: str
    base: str
    found: Line
    counts: bool  # and is not printed beside the one that is asked for

    @property
    def holds(self) -> bool:
        """Whether it is what it must be."""
        times, difference = self.found.times, self.found.difference
        if times is None or difference is None:
            return False
        within = self.target.within
        worse = -difference.median if self._more_is_better else difference.median
        return times.median >= self.target.must or (within is not None and worse <= within)

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        if self.found.times is None:
            return "not measured"
        if not self.holds:
            return "missed"
        return "aim reached" if self.found.times.median >= self.target.aim else "holds"

    @property
    def asked(self) -> str:
        """What must be, in words."""
        times = f"{self.target.must:g} times"
        return (
            times
            if self.target.within is None
            else f"{times}, or within {self.target.within:g} {self.found.unit}"
        )

    @property
    def _more_is_better(self) -> bool:
        return "/" in self.found.unit


TARGETS = (
    Target("short chat", "first token", OLLAMA, 0.95, 1.0, within=3),
    Target("one stream", "decode", OLLAMA, 0.98, 1.1),
    Target("code edit", "decode", OLLAMA, 1.8, 2.5),
    Target("8 at once", "total", OLLAMA, 1.45, 2),
    Target("8 at once", "slowest first token", OLLAMA, 2.5, 4),
    Target("long prompt", "prefill", OLLAMA, 1.0, 1.2),
    Target("long prompt", "prefill", OLLAMA, 1.8, 2.5, server="hutch-optimized"),
    Target("embeddings", "texts", OLLAMA, 3, 6),
    Target("second turn after a restart", "first token", OLLAMA, 5, 15),
    Target("short chat", "first token", ENGINE, 1.0, 1.0, within=2),
    Target("one stream", "decode", ENGINE, 0.98, 1.0),
    Target("8 at once", "total", ENGINE, 0.97, 1.0),
    Target("one stream", "decode", ("foundry",), 1.0, 1.3, server="hutch-onnx"),
    Target("long prompt", "prefill", ("foundry",), 1.9, 3, server="hutch-onnx"),
    Target("shared prefix", "first token", ("foundry",), 20, 40, server="hutch-onnx"),
    Target("8 passages at once", "total", ("foundry",), 1.6, 2.5, server="hutch-onnx"),
    Target("8 passages at once", "slowest first token", ("foundry",), 1.6, 2.5, server="hutch-onnx"),
)


def verdicts(report: Report, targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """Each target whose two servers take part and whose workload was asked, with the wheel's row after the built engine's."""
    return [verdict for target in targets for verdict in _verdicts(report, target)]


def _verdicts(report: Report, target: Target) -> Iterator[Verdict]:
    base = next((peer for kind in target.bases for peer in report.peers if peer.kind == kind), None)
    turns = report.of(target.workload)
    if base is None or not turns:
        return
    unit = next(
        unit
        for workload in report.plan.workloads
        if workload.name == target.workload
        for name, unit in workload.figures
        if name == target.figure
    )
    judged = _judged(report.peers, target.server)
    for peer in judged:
        found = line(turns, (target.figure, unit), peer.name, base.name)
        yield Verdict(target, peer.name, base.name, found, counts=peer.kind == judged[0].kind)


def _judged(peers: Sequence[Peer], kind: str) -> list[Peer]:
    kinds = ("hutch-built", "hutch") if kind == "hutch-built" else (kind,)
    return [peer for kind in kinds for peer in peers if peer.kind == kind]


def told(verdict: Verdict) -> str:
    """A line for the terminal."""
    times = verdict.found.times
    reached = f"{times.median:.2f} times" if times else "no figure"
    figure = f"{verdict.target.workload}, {verdict.target.figure}"
    return f"{verdict.word}: {verdict.server}, {figure}, beside {verdict.base}: {reached} (must {verdict.asked}, aim {verdict.target.aim:g})"
