"""Which of a worker's slots a request takes.

A slot keeps the prompt that it saw last, so a request that begins alike is answered sooner there. What a slot
keeps belongs to the principal that put it there: for another one it is not reused.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from hutch.core.access import Principal
from hutch.runtime import fairness
from hutch.runtime.ledger import Ledger
from hutch.runtime.line import Line

_MIN_SHARED = 0.1  # below this share of the prompt, a free slot used longest ago is the better choice


@dataclass(slots=True)
class Slot:
    """One slot of the engine. `owner` is None where nothing in it may be reused."""

    index: int
    owner: Principal | None = None
    prompt: str = ""
    used: int = 0
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """A slot, for one request. `reuse`: whether the engine may keep what the slot holds; `shared`: of how many characters it may."""

    index: int
    reuse: bool
    shared: int = 0


def choose(free: Sequence[Slot], who: Principal, prompt: str, elsewhere: int = 0) -> Slot:
    """The free slot that already holds most of this prompt for this principal, else the one used longest ago.

    `elsewhere`: as much of it can be had from where it is no slot's.
    """
    best, shared = None, max(len(prompt) * _MIN_SHARED, elsewhere)
    for slot in free:
        if slot.owner == who and (common := common_prefix_length(slot.prompt, prompt)) > shared:
            best, shared = slot, common
    return best or min(free, key=lambda slot: slot.used)


def common_prefix_length(a: str, b: str) -> int:
    """How many characters two texts begin alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # by halves: comparing slices is done in C, comparing characters is not
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class SlotPool:
    """The slots of one worker, and the line of requests that wait for one. Who goes next is `fairness`'s to say."""

    def __init__(
        self, num_slots: int, max_queue: int, *, in_batches: bool = False, ledger: Ledger | None = None
    ) -> None:
        self._slots = [Slot(index) for index in range(num_slots)]
        self._line = Line(max_queue, num_slots)
        self._ledger = ledger or Ledger()
        self._num_free = num_slots
        self._in_batches = in_batches  # requests begin together: when all slots are free, and not before
        self._held: Counter[str] = Counter()  # slots by principal
        self._asked: dict[str, float] = {}  # when each principal last asked for a slot
        self._clock = 0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def num_busy(self) -> int:
        """How many slots work."""
        return sum(slot.busy for slot in self._slots)

    @property
    def num_queued(self) -> int:
        """How many requests wait."""
        return len(self._line.tickets)

    @property
    def held(self) -> list[Slot]:
        """The slots at rest whose content is somebody's, those used last first."""
        resting = (slot for slot in self._slots if slot.owner is not None and not slot.busy)
        return sorted(resting, key=lambda slot: -slot.used)

    @asynccontextmanager
    async def lease(self, who: Principal, prompt: str, elsewhere: int = 0) -> AsyncIterator[Lease]:
        """Hold a slot. Raises Busy where too many wait already, and TooLate where the deadline comes first."""
        await self._turn(who)
        slot = choose([slot for slot in self._slots if not slot.busy], who, prompt, elsewhere)
        reuse = slot.owner == who
        shared = common_prefix_length(slot.prompt, prompt) if reuse else 0
        self._clock += 1
        slot.busy, slot.owner, slot.prompt, slot.used = True, who, prompt, self._clock
        began = self._line.begin()
        try:
            yield Lease(slot.index, reuse, shared)
        finally:
            slot.busy = False
            self._line.end(began)
            self._give_back(who)

    @contextmanager
    def also(self, who: Principal, num: int) -> Iterator[tuple[int, ...]]:
        """Hold as many further slots as may be had now, and no more than `num`. Nothing in them is reused, before or after.

        The engine takes them in the order of their numbers.
        """
        may_take = self._may_hold((who.id,))[who.id] - self._held[who.id]
        taken = [slot for slot in self._slots if not slot.busy][: max(0, min(num, self._num_free, may_take))]
        self._num_free -= len(taken)
        self._held[who.id] += len(taken)
        for slot in taken:
            slot.busy, slot.owner, slot.prompt = True, None, ""
        try:
            yield tuple(slot.index for slot in taken)
        finally:
            for slot in taken:
                slot.busy = False
            self._free(who, len(taken))

    def forget(self) -> None:
        """Reuse nothing of what the slots hold: the worker is new, or has used them for something else."""
        for slot in self._slots:
            slot.owner = None

    async def _turn(self, who: Principal) -> None:
        """Return once a slot is this caller's to take."""
        if who.may_return:
            self._asked[who.id] = self._ledger.clock()
        turn = self._line.join(who)
        self._ledger.waits(who)
        self._hand_out()
        try:
            if not turn.done():
                self._line.bound(turn, who)
            await turn
        except BaseException:
            self._line.quit(turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(who)  # the turn came in the same moment as the cancellation
            else:
                self._ledger.leaves(who, was_running=False)
            raise

    def _hand_out(self) -> None:
        """Give the free slots to whose turn it is."""
        if self._in_batches and self._num_free < len(self._slots):
            return
        while self._num_free and self._line.tickets:
            ids = {ticket.who.id for ticket in self._line.tickets}
            ticket = fairness.next_up(
                self._line.tickets, self._ledger.counters(), self._held, self._may_hold(ids)
            )
            if ticket is None:
                # A slot is kept free for somebody who may not come: handed out when that is not expected any more.
                if self._alarm is None:
                    self._alarm = asyncio.get_running_loop().call_later(fairness.EXPECTED_S, self._wake)
                return
            if self._line.call(ticket):
                self._num_free -= 1
                self._held[ticket.who.id] += 1
                self._ledger.begins(ticket.who)

    def _may_hold(self, ids: Iterable[str]) -> dict[str, int]:
        """How many slots each of these principals may hold: fewer where others are expected here too."""
        since = self._ledger.clock() - fairness.EXPECTED_S
        self._asked = {name: when for name, when in self._asked.items() if when > since or self._held[name]}
        num = len(self._slots)
        return {
            name: fairness.may_hold(num, are_others_expected=bool(self._asked.keys() - {name}))
            for name in ids
        }

    def _wake(self) -> None:
        self._alarm = None
        self._hand_out()

    def _give_back(self, who: Principal) -> None:
        self._ledger.leaves(who, was_running=True)
        self._free(who, 1)

    def _free(self, who: Principal, num: int) -> None:
        self._num_free += num
        self._held[who.id] -= num
        if who.may_return:
            self._asked[who.id] = self._ledger.clock()
        self._hand_out()
