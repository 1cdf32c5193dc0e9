"""Which of a worker's slots a request takes.

A slot keeps the prompt that it saw last, so a request that begins alike is answered sooner there. What a slot
keeps belongs to the principal that put it there: for another one it is not reused.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from hutch.core.access import Principal
from hutch.core.errors import Busy

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
    """A slot, for one request. `reuse`: whether the engine may keep what the slot holds."""

    index: int
    reuse: bool


def choose(free: Sequence[Slot], who: Principal, prompt: str) -> Slot:
    """The free slot that already holds most of this prompt for this principal, else the one used longest ago."""
    best, shared = None, len(prompt) * _MIN_SHARED
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
    """The slots of one worker, and the line of requests that wait for one."""

    def __init__(self, num_slots: int, max_queue: int, *, in_batches: bool = False) -> None:
        self._slots = [Slot(index) for index in range(num_slots)]
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._max_queue = max_queue
        self._num_free = num_slots
        self._in_batches = in_batches  # requests begin together: when all slots are free, and not before
        self._clock = 0

    @property
    def num_busy(self) -> int:
        """How many slots work."""
        return sum(slot.busy for slot in self._slots)

    @property
    def num_queued(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def lease(self, who: Principal, prompt: str) -> AsyncIterator[Lease]:
        """Hold a slot, first come first served. Raises Busy where too many wait already."""
        await self._turn()
        slot = choose([slot for slot in self._slots if not slot.busy], who, prompt)
        reuse = slot.owner == who
        self._clock += 1
        slot.busy, slot.owner, slot.prompt, slot.used = True, who, prompt, self._clock
        try:
            yield Lease(slot.index, reuse)
        finally:
            slot.busy = False
            self._pass_on()

    @contextmanager
    def also(self, num: int) -> Iterator[tuple[int, ...]]:
        """Hold as many further slots as are free now, and no more than `num`. Nothing in them is reused, before or after.

        The engine takes them in the order of their numbers.
        """
        taken = [slot for slot in self._slots if not slot.busy][: max(0, min(num, self._num_free))]
        self._num_free -= len(taken)
        for slot in taken:
            slot.busy, slot.owner, slot.prompt = True, None, ""
        try:
            yield tuple(slot.index for slot in taken)
        finally:
            for slot in taken:
                slot.busy = False
                self._pass_on()

    def forget(self) -> None:
        """Reuse nothing of what the slots hold: the worker is new, or has used them for something else."""
        for slot in self._slots:
            slot.owner = None

    async def _turn(self) -> None:
        """Return once a slot is this caller's to take; a slot that falls free goes to who waited longest."""
        is_between = not self._in_batches or self._num_free == len(self._slots)
        if self._num_free and is_between:
            self._num_free -= 1
            return
        if len(self._waiting) >= self._max_queue:
            raise Busy(
                "server busy, please try again.  maximum pending requests exceeded",
                hint="Send it again later, or raise HUTCH_MAX_QUEUE or HUTCH_NUM_PARALLEL.",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self._pass_on()  # the turn came in the same moment as the cancellation
            raise

    def _pass_on(self) -> None:
        self._num_free += 1
        if self._in_batches and self._num_free < len(self._slots):
            return
        while self._waiting and self._num_free:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._num_free -= 1
