"""What each principal has had, may have, and waits for: one book for all models and engines.

Used from the event loop's thread alone.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hutch.core.access import Principal
from hutch.core.chat import Usage
from hutch.core.errors import OverLimit
from hutch.core.names import ModelName
from hutch.runtime import fairness
from hutch.runtime.limits import Window

_RATE_SPAN_S = 10.0
_MAX_ACCOUNTS = 10_000  # beyond it those that are idle are forgotten
_MAX_MODELS = 1000  # the same
_PIECES_AT_ONCE = 8  # to count each takes an eighth of what its way through the front does


class Rate:
    """Tokens a second, of the last ten seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque()

    def add(self, now: float, num_tokens: int) -> None:
        """So many more."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            num_tokens += self._seconds.pop()[1]
        self._seconds.append((second, num_tokens))
        while second - self._seconds[0][0] >= _RATE_SPAN_S:
            self._seconds.popleft()

    def per_s(self, now: float) -> float:
        """How many a second."""
        return sum(num for second, num in self._seconds if now - second < _RATE_SPAN_S) / _RATE_SPAN_S


@dataclass(slots=True)
class Account:
    """Of one principal. `counter`: the service it got by its weight, as fairness counts it."""

    who: Principal
    counter: float = 0.0
    running: int = 0
    waiting: int = 0
    num_requests: int = 0
    num_refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)
    rate: Rate = field(default_factory=Rate)

    @property
    def is_active(self) -> bool:
        """Whether it waits for anything, or is being served."""
        return bool(self.running or self.waiting)


class Ledger:
    """All accounts. `clock` tells seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._accounts: dict[str, Account] = {}
        self._active: dict[str, Account] = {}
        self._floor = 0.0
        self._models: dict[str, Rate] = {}  # by the name of a model that has written

    def accounts(self) -> tuple[Account, ...]:
        """Every account, in the order in which they were opened."""
        return tuple(self._accounts.values())

    def counters(self) -> dict[str, float]:
        """The counters of those who are active, by principal."""
        return {name: account.counter for name, account in self._active.items()}

    def tokens_per_s(self, model: ModelName) -> float:
        """What a model writes now."""
        rate = self._models.get(model.short.lower())
        return rate.per_s(self.clock()) if rate else 0.0

    def wrote(self, model: ModelName, num_tokens: int) -> None:
        """A model has written so many tokens."""
        now, name = self.clock(), model.short.lower()
        if name not in self._models and len(self._models) >= _MAX_MODELS:
            self._models = {each: rate for each, rate in self._models.items() if rate.per_s(now)}
        self._models.setdefault(name, Rate()).add(now, num_tokens)

    def account(self, who: Principal) -> Account:
        """The account of a principal, with the allowance that it has now."""
        account = self._accounts.get(who.id)
        if account is None:
            if len(self._accounts) >= _MAX_ACCOUNTS:
                self._accounts = {name: each for name, each in self._accounts.items() if each.is_active}
            account = self._accounts[who.id] = Account(who)
        account.who = who
        return account

    def waits(self, who: Principal) -> None:
        """A request has come into a line. Whoever was not active starts where the others are."""
        account = self.account(who)
        if not account.is_active:
            account.counter, self._floor = fairness.lifted(
                account.counter, self._floor, self.counters().values()
            )
            self._active[who.id] = account
        account.waiting += 1

    def begins(self, who: Principal) -> None:
        """A request has got a slot."""
        account = self.account(who)
        account.waiting -= 1
        account.running += 1

    def leaves(self, who: Principal, *, was_running: bool) -> None:
        """A request has given its slot back, or its place in the line up."""
        account = self.account(who)
        if was_running:
            account.running -= 1
        else:
            account.waiting -= 1
        if not account.is_active:
            del self._active[who.id]
            if not self._active:
                self._floor = max(self._floor, account.counter)

    @contextmanager
    def spending(self, who: Principal, model: ModelName, estimate: float) -> Iterator["Spending"]:
        """Count what a request takes. `estimate`: its tokens, which are set aside until it is known better. Raises OverLimit."""
        account, now, allowance = self.account(who), self.clock(), who.allowance
        limits = (
            (account.requests, 1.0, allowance.requests_per_minute, "requests"),
            (account.tokens, estimate, allowance.tokens_per_minute, "tokens"),
        )
        for window, amount, limit, what in limits:
            if limit and (wait_s := window.wait_s(now, amount, limit)) > 0:
                account.num_refused += 1
                raise OverLimit(
                    f"this key may have {limit} {what} a minute, and has had them",
                    hint="Send it again when the time in Retry-After has passed.",
                    retry_after_s=fairness.retry_after_s(now, now + wait_s),
                )
        account.num_requests += 1
        taking = None
        if allowance.requests_per_minute:
            account.requests.take(now, 1.0)
        if allowance.tokens_per_minute:
            taking = account.tokens.take(now, min(estimate, allowance.tokens_per_minute))
        spending = Spending(account, model, self)
        try:
            yield spending
        finally:
            spending.broke_off()
            if taking is not None:
                account.tokens.settle(self.clock(), taking, spending.num_tokens)


class Spending:
    """What one request takes, counted while it is served and put right at its end."""

    def __init__(self, account: Account, model: ModelName, ledger: Ledger) -> None:
        self._account = account
        self._model = model
        self._ledger = ledger
        self._prompt_tokens = 0
        self._pieces = 0
        self._completion_tokens = 0

    @property
    def num_tokens(self) -> int:
        """All tokens so far, of prompt and answers."""
        return self._prompt_tokens + self._completion_tokens + self._pieces

    def piece(self) -> None:
        """A piece of an answer has come: about a token."""
        self._pieces += 1
        if not self._pieces % _PIECES_AT_ONCE:
            self._count(0, _PIECES_AT_ONCE)

    def ended(self, usage: Usage) -> None:
        """An answer is whole: what it took in truth. All choices of a request have one prompt."""
        completion = usage.completion_tokens
        prompt = max(0, usage.prompt_tokens - self._prompt_tokens)
        read = max(0, prompt - usage.cached_tokens)  # what is in the slot already costs nothing
        self._account.prompt_tokens += prompt
        self._count(read, completion - self._pieces + self._pieces % _PIECES_AT_ONCE)
        self._prompt_tokens += prompt
        self._completion_tokens += completion
        self._pieces = 0

    def broke_off(self) -> None:
        """Nothing more comes: count what has come of an answer that did not end."""
        self._count(0, self._pieces % _PIECES_AT_ONCE)

    def _count(self, read: float, written: int) -> None:
        self._account.counter += fairness.cost(read, written, self._account.who.allowance.weight)
        self._account.completion_tokens += written
        if written > 0:
            self._account.rate.add(self._ledger.clock(), written)
            self._ledger.wrote(self._model, written)
