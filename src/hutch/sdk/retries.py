"""When a request is sent again, and after how long. It never waits itself."""

import random
from dataclasses import dataclass
from typing import Literal

from hutch.core.errors import Busy, HutchError, OverLimit, Unreachable

Repeat = Literal["always", "refused", "never"]


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request that was turned away is sent again: when nobody listens, and on 429 and 503.

    The pause doubles from `first_s` on, up to `longest_s`, and is cut by chance to between half and all of it. A
    `Retry-After` is waited for in full; one longer than `longest_s` ends the attempts at once.
    """

    times: int = 3
    first_s: float = 0.25
    longest_s: float = 30.0

    def __post_init__(self) -> None:
        if self.times < 0 or self.first_s < 0 or self.longest_s < 0:
            raise ValueError("Retries: no number may be negative")

    def wait_s(self, error: HutchError, repeat: Repeat, attempt: int) -> float | None:
        """The pause before the attempt after number `attempt` (from 0); None where there is to be none.

        "refused" repeats what was certainly not begun: without a connection, or where Hutch itself says it is busy.
        """
        if attempt >= self.times or repeat == "never":
            return None
        if type(error) is Unreachable:  # refused; its subclass means that much time has gone already
            told_s = 0
        elif isinstance(error, Busy) and (type(error) in (Busy, OverLimit) or repeat == "always"):
            told_s = error.retry_after_s
        else:
            return None
        if told_s > self.longest_s:
            return None
        pause_s = min(self.first_s * 2.0 ** min(attempt, 30), self.longest_s)
        return told_s + pause_s * random.uniform(0.5, 1.0)  # noqa: S311  # so that clients do not come back together
