"""Whether a variant is close enough to its source. Pure. The bounds' reasons are in docs/adr/0016-accuracy-gate.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hutch.core.errors import BadInput
from hutch.optimize.texts import MIN_TOKENS

MAX_MEAN_KL = 0.15
MIN_TOP1 = 0.85


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How near a variant is to its source: mean KL divergence in nats, share of positions with the same likeliest word."""

    mean_kl: float
    top1: float
    num_tokens: int

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Accuracy":
        """Read what a job's step told."""
        return cls(float(found["mean_kl"]), float(found["top1"]), int(found["num_tokens"]))


@dataclass(frozen=True, slots=True)
class Gate:
    """The bounds of accuracy. Raises BadInput for bounds that mean nothing."""

    max_mean_kl: float = MAX_MEAN_KL
    min_top1: float = MIN_TOP1
    min_tokens: int = MIN_TOKENS

    def __post_init__(self) -> None:
        if not 0 <= self.max_mean_kl < float("inf"):
            raise BadInput("--max-kl takes a number of nats from 0 up")
        if not 0 <= self.min_top1 <= 1:
            raise BadInput("--min-top1 takes a share from 0 to 1")

    def objections(self, found: Accuracy) -> tuple[str, ...]:
        """Why a variant does not pass; none where it does."""
        said = []
        if not found.mean_kl <= self.max_mean_kl:  # so that NaN fails
            said.append(f"mean KL {found.mean_kl:.3f} is above {self.max_mean_kl:g} nats")
        if not found.top1 >= self.min_top1:
            said.append(f"top-1 agreement {found.top1:.3f} is below {self.min_top1:g}")
        if found.num_tokens < self.min_tokens:
            said.append(f"only {found.num_tokens:,} tokens were read")
        return tuple(said)

    def __str__(self) -> str:
        """The bounds, for people."""
        return (
            f"mean KL divergence at most {self.max_mean_kl:g} nats, top-1 agreement at least {self.min_top1:g}, "
            f"on at least {self.min_tokens:,} tokens"
        )
