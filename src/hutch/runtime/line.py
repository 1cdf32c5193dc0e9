"""The requests that wait for a slot of one worker: who is in line, who is called, and who is sent away with a promise."""

import asyncio
import itertools
import math
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
        self._turns: dict[Ticket, asyncio.Future[None]] = {}
        self._numbers = itertools.count()
        self._num_slots = num_slots
        self._mean_s: float | None = None
        self._held_since: list[float] = []
        self._promises = Promises(max_queue, num_slots)

    @property
    def tickets(self) -> Collection[Ticket]:
        """Who waits, in the order in which they came."""
        return self._turns.keys()

    def join(self, who: Principal) -> "asyncio.Future[None]":
        """Get in line. Raises TooLate where the deadline has passed: a model that had to be loaded first takes its time."""
        if who.begin_by is not None and who.begin_by < (now := time.monotonic()):
            raise self._too_late(now)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns[Ticket(next(self._numbers), who)] = turn
        return turn

    def bound(self, turn: "asyncio.Future[None]", who: Principal) -> None:
        """Keep the line within its bound after `who` got in, and see to the deadline. Raises Busy or TooLate."""
        now = time.monotonic()
        kept = (
            0 if self._promises.redeem(now, who.id) else self._promises.places_kept(now, self._service_s(now))
        )
        if len(self._turns) > self._max_queue - kept:
            others = [ticket for ticket, each in self._turns.items() if each is not turn and not each.done()]
            last = fairness.displaced(others, who)
            if last is None:
                raise self._full(who)
            self._turns.pop(last).set_exception(self._full(last.who))
        if who.begin_by is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(who.begin_by - now, self._give_up, turn)
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

    def begin(self) -> float:
        """A slot is held from now on. Tells the time, by which `end` knows it."""
        began = time.monotonic()
        self._held_since.append(began)
        return began

    def end(self, began: float) -> None:
        """A slot that was held since then is given back."""
        self._held_since.remove(began)
        held_s = time.monotonic() - began
        self._mean_s = held_s if self._mean_s is None else self._mean_s + _NEWEST * (held_s - self._mean_s)

    def _service_s(self, now: float) -> float:
        """For how long a slot is held, about: as it was of late, or as it is now where that is longer already."""
        since = self._held_since
        so_far_s = sum(now - began for began in since) / len(since) if since else 0.0
        return max(_FIRST_GUESS_S if self._mean_s is None else self._mean_s, so_far_s)

    def _full(self, who: Principal) -> Busy:
        now = time.monotonic()
        return Busy(
            "server busy, please try again.  maximum pending requests exceeded",
            hint="Send it again when the time in Retry-After has passed, or raise HUTCH_MAX_QUEUE or HUTCH_NUM_PARALLEL.",
            retry_after_s=math.ceil(self._promises.make(now, who.id, self._service_s(now)) - now),
        )

    def _give_up(self, turn: "asyncio.Future[None]") -> None:
        if not turn.done():
            turn.set_exception(self._too_late(time.monotonic()))

    def _too_late(self, now: float) -> TooLate:
        passed_at = now + len(self._turns) * self._service_s(now) / self._num_slots
        return TooLate(
            "the request could not begin by its deadline",
            hint="Send it again when the time in Retry-After has passed, or with a later deadline.",
            retry_after_s=fairness.retry_after_s(now, passed_at),
        )
