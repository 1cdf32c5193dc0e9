"""How much was taken in the last minute. It is told the time, and waits for nothing."""

from collections import deque
from dataclasses import dataclass

SPAN_S = 60.0


@dataclass(slots=True)
class Taking:
    """What was taken at once."""

    when: float
    amount: float


class Window:
    """What was taken in any span of 60 seconds, taking by taking, so that it can tell exactly when there is room again."""

    def __init__(self) -> None:
        self._takings: deque[Taking] = deque()

    def used(self, now: float) -> float:
        """How much was taken in the span that ends now."""
        while self._takings and now - self._takings[0].when >= SPAN_S:
            self._takings.popleft()
        return sum(taking.amount for taking in self._takings)

    def wait_s(self, now: float, amount: float, limit: float) -> float:
        """How long until `amount` more stays within the limit. An amount above the limit waits for an empty span."""
        over = self.used(now) + min(amount, limit) - limit
        wait_s = 0.0
        for taking in self._takings:
            if over <= 0:
                break
            over -= taking.amount
            wait_s = taking.when + SPAN_S - now
        return wait_s

    def take(self, now: float, amount: float) -> Taking:
        """Take so much."""
        self._takings.append(Taking(now, amount))
        return self._takings[-1]

    def settle(self, now: float, taking: Taking, amount: float) -> None:
        """It was so much in truth. What was taken too much is given back where it was taken; the rest is taken now."""
        if amount > taking.amount:
            self.take(now, amount - taking.amount)
        else:
            taking.amount = amount
