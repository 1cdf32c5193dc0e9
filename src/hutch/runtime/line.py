"""The requests that wait for a slot of one worker: who is in line, who is called, and who is sent away with a promise."""

import asyncio
import itertools
import time
from collections.abc import Collection

from hutch.core.access import Principal
from hutch.core.errors import Busy, TooLate
from hutch.runtime import fairness
from hutch.runtime.fairness import Ticket
from hutch.runtime.promises import Promises

_FIRST_GUESS_S = 1.0  # for how long a slot is held, before any was
_NEWEST = 0.2  # what the latest hold counts beside those before it


class Line:
    """A bounded line. A turn is a future: done when it has come, or with the reason why it does not."""

    def __init__(self, max_queue: int, num_slots: int) -> None:
        self._max_queue = max_queue
        self._num_slots = num_slots
        self._turns: dict[Ticket, asyncio.Future[None]] = {}
        self._numbers = itertools.count()
        self._mean_s: float | None = None
        self._promises = Promises()

    @property
    def tickets(self) -> Collection[Ticket]:
        """Who waits, in the order in which they came."""
        return self._turns.keys()

    def join(self, who: Principal) -> "asyncio.Future[None]":
        """Get in line."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns[Ticket(next(self._numbers), who)] = turn
        return turn

    def bound(self, turn: "asyncio.Future[None]", who: Principal) -> None:
        """Keep the line within its bound after `who` got in, and see to the deadline. Raises Busy or TooLate."""
        now = time.monotonic()
        kept = 0 if self._promises.redeem(now, who.id) else self._promises.places_kept(now, self._max_queue)
        if len(self._turns) > self._max_queue - kept:
            others = [ticket for ticket, each in self._turns.items() if each is not turn and not each.done()]
            last = fairness.displaced(others, who)
            if last is None:
                raise self._full(who)
            self._turns.pop(last).set_exception(self._full(last.who))
        if who.begin_by is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(who.begin_by - now, self._too_late, turn, who)
            turn.add_done_callback(lambda _: timer.cancel())

    def call(self, ticket: Ticket) -> bool:
        """It is this one's turn. False where it has left meanwhile."""
        turn = self._turns.pop(ticket)
        if turn.done():
            return False
        turn.set_result(None)
        return True

    def quit(self, turn: "asyncio.Future[None]") -> None:
        """Leave the line, if still in it."""
        self._turns = {ticket: each for ticket, each in self._turns.items() if each is not turn}

    def served(self, held_s: float) -> None:
        """A slot was held for so long."""
        mean = held_s if self._mean_s is None else self._mean_s
        self._mean_s = mean + _NEWEST * (held_s - mean)

    def _full(self, who: Principal) -> Busy:
        return Busy(
            "server busy, please try again.  maximum pending requests exceeded",
            hint="Send it again when the time in Retry-After has passed, or raise HUTCH_MAX_QUEUE or HUTCH_NUM_PARALLEL.",
            retry_after_s=self._promise(who),
        )

    def _too_late(self, turn: "asyncio.Future[None]", who: Principal) -> None:
        if not turn.done():
            turn.set_exception(
                TooLate(
                    "the request could not begin by its deadline",
                    hint="Send it again when the time in Retry-After has passed, or with a later deadline.",
                    retry_after_s=self._promise(who),
                )
            )

    def _promise(self, who: Principal) -> int:
        """In how many seconds to come back."""
        now = time.monotonic()
        mean_s = _FIRST_GUESS_S if self._mean_s is None else self._mean_s
        return round(self._promises.make(now, who.id, mean_s, self._num_slots) - now)
