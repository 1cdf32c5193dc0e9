"""A server's slots and line on virtual time, with the decisions of `fairness` and the book of `ledger`, and no engine."""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hutch.core.access import Principal
from hutch.runtime import fairness
from hutch.runtime.fairness import Ticket
from hutch.runtime.ledger import Ledger
from hutch.runtime.promises import Promises


@dataclass(slots=True)
class Request:
    """What somebody asks, at which moment. Serving it takes as many seconds as it has tokens, divided by 100."""

    who: Principal
    at: float
    prompt_tokens: int
    completion_tokens: int
    begun: float | None = None
    promised: list[float] = field(default_factory=list)  # when it was told to come back
    tries: list[float] = field(default_factory=list)

    @property
    def service_s(self) -> float:
        """How long a slot is held for it."""
        return (self.prompt_tokens / fairness.COMPLETION_COST + self.completion_tokens) / 100

    @property
    def wait_s(self) -> float:
        """How long it waited, from its first try on."""
        assert self.begun is not None
        return self.begun - self.at


class House:
    """Slots, and a line before them. Whoever is sent away comes back when told."""

    def __init__(self, num_slots: int, max_queue: int) -> None:
        self.now = 0.0
        self.num_slots = num_slots
        self.max_queue = max_queue
        self.ledger = Ledger(lambda: self.now)
        self.line: dict[Ticket, Request] = {}
        self.held: Counter[str] = Counter()
        self.asked: dict[str, float] = {}
        self.order: list[Request] = []
        self._events: list[tuple[float, int, Request, bool]] = []
        self._numbers = itertools.count()
        self._promises = Promises(max_queue, num_slots)
        self._mean_s = 1.0
        self._chance = random.Random(5)

    def run(self, requests: Iterable[Request], until: float = float("inf")) -> None:
        """Let it all happen."""
        for request in requests:
            self._later(request.at, request, ends=False)
        while self._events and self._events[0][0] <= until:
            self.now, _, request, ends = heapq.heappop(self._events)
            if ends:
                self._end(request)
            else:
                self._arrive(request)
            self._hand_out()
            if not ends and request.begun is None:
                self._bound(request)

    def _later(self, at: float, request: Request, *, ends: bool) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), request, ends))

    def _arrive(self, request: Request) -> None:
        request.tries.append(self.now)
        self.asked[request.who.id] = self.now
        self.ledger.waits(request.who)
        self.line[Ticket(next(self._numbers), request.who)] = request

    def _bound(self, newest: Request) -> None:
        is_told = self._promises.redeem(self.now, newest.who.id)
        kept = 0 if is_told else self._promises.places_kept(self.now, self._mean_s)
        if len(self.line) <= self.max_queue - kept:
            return
        [mine] = [ticket for ticket, request in self.line.items() if request is newest]
        last = fairness.displaced([ticket for ticket in self.line if ticket != mine], newest.who) or mine
        away = self.line.pop(last)
        self.ledger.leaves(away.who, was_running=False)
        back_at = self._promises.make(self.now, away.who.id, self._mean_s)
        away.promised.append(back_at)
        self._later(back_at + self._chance.random() / 10, away, ends=False)

    def _hand_out(self) -> None:
        while len(self.line) and sum(self.held.values()) < self.num_slots:
            since = self.now - fairness.EXPECTED_S
            others = {name for name, when in self.asked.items() if when > since}
            may_hold = {
                ticket.who.id: fairness.may_hold(
                    self.num_slots, are_others_expected=len(others - {ticket.who.id}) > 0
                )
                for ticket in self.line
            }
            ticket = fairness.next_up(self.line, self.ledger.counters(), self.held, may_hold)
            if ticket is None:
                return
            self._begin(self.line.pop(ticket))

    def _begin(self, request: Request) -> None:
        request.begun = self.now
        self.order.append(request)
        self.held[request.who.id] += 1
        self.ledger.begins(request.who)
        self._later(self.now + request.service_s, request, ends=True)

    def _end(self, request: Request) -> None:
        account = self.ledger.account(request.who)
        account.counter += fairness.cost(
            request.prompt_tokens, request.completion_tokens, request.who.allowance.weight
        )
        self.held[request.who.id] -= 1
        self._mean_s += 0.2 * (request.service_s - self._mean_s)
        self.ledger.leaves(request.who, was_running=True)
