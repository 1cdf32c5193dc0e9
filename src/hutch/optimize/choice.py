"""Which variant to take. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hutch.optimize.gate import Accuracy
from hutch.optimize.speed import Speed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate. `problem` tells why there are no figures, `objections` why it does not pass."""

    name: str
    format: str
    size_bytes: int = 0
    accuracy: Accuracy | None = None
    speed: Speed | None = None
    objections: tuple[str, ...] = ()
    problem: str = ""
    is_source: bool = False

    @property
    def passes(self) -> bool:
        """Whether it may be chosen."""
        return not self.problem and self.accuracy is not None and not self.objections


def chosen(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The fastest that passes the gate; the smaller one where two are equally fast. None where none passes."""
    able = [each for each in outcomes if each.passes and each.speed is not None]
    return max(
        able, key=lambda each: (each.speed.score if each.speed else 0.0, -each.size_bytes), default=None
    )


def pareto(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Those that no other one beats in both speed and accuracy, the most accurate first."""
    known = [each for each in outcomes if each.speed is not None and each.accuracy is not None]
    front: list[Outcome] = []
    best = 0.0
    for each in sorted(known, key=_by_accuracy):
        score = each.speed.score if each.speed else 0.0
        if score > best:
            front.append(each)
            best = score
    return tuple(front)


def _by_accuracy(outcome: Outcome) -> tuple[float, float]:
    accuracy, speed = outcome.accuracy, outcome.speed
    return (accuracy.mean_kl if accuracy else float("inf"), -(speed.score if speed else 0.0))
