"""Which answer has which row of the cache, what a row still holds, and how much memory all of them take.

A row's tokens are known one by one, so nothing is ever taken over that was not put there for the same prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hutch.engines.onnx.answer import Answer, Order

_PATIENCE = (
    16  # a row that nobody needs is computed along so often before another one is moved into its place
)
# A prompt of which all is cached is read anew from its last two tokens on: one token alone would go through other
# kernels, whose last bits differ.
_MIN_NEW = 2


class Memory(Protocol):
    """What a decoder can do with its rows."""

    num_rows: int
    num_ctx: int
    min_rows: int  # a step needs so many

    def free(self, row: int) -> None:
        """Give a row's memory back."""

    def swap(self, row: int, other: int, num_tokens: int) -> None:
        """Exchange two rows' first tokens."""

    def copy(self, row: int, other: int, num_tokens: int) -> bool:
        """Put a row's first tokens into another one too. Says whether that can be done."""

    def views(self, row: int, num_tokens: int) -> Sequence[NDArray[np.floating[Any]]]:
        """The keys and values of a row's first tokens, each [heads, tokens, head_size], where they lie. Raises NotBuilt."""


@dataclass(slots=True)
class Row:
    """A row of the cache. The keys and values of the first `num_held` of `tokens` are in it; behind them is nothing of use."""

    slot: int
    tokens: list[int] = field(default_factory=list)
    num_held: int = 0
    answer: Answer | None = None
    num_reserved: int = 0  # the room that its answer may need
    num_touched: int = 0  # positions that have ever been written since its memory was given back
    used: int = 0
    patience: int = 0

    @property
    def is_decoding(self) -> bool:
        """Whether its answer has its prompt behind it."""
        return self.answer is not None and self.answer.is_decoding

    @property
    def num_taken(self) -> int:
        """What it counts for against the cap."""
        return max(self.num_touched, self.num_reserved)

    @property
    def num_left(self) -> int:
        """How many of its answer's tokens are still to be read."""
        return len(self.tokens) - self.num_held

    @property
    def next_token(self) -> int:
        """What the next step puts into it; -1 where it only lies between others."""
        return self.tokens[self.num_held] if self.is_decoding else -1

    def hold(self, num_held: int) -> None:
        """So many tokens are in it now."""
        self.num_held = num_held
        self.num_touched = max(self.num_touched, num_held)

    def lend(self, num_ctx: int) -> int:
        """The position behind its tokens, which the next step writes to."""
        self.num_held = min(self.num_held, num_ctx - 1)
        self.num_touched = max(self.num_touched, self.num_held + 1)
        return self.num_held


class Rows:
    """All rows, in the order in which they lie in memory. `num_tokens`: how many tokens they may hold together."""

    def __init__(self, memory: Memory, num_tokens: int) -> None:
        self._memory = memory
        self._num_tokens = num_tokens
        self._rows = [Row(slot) for slot in range(memory.num_rows)]
        self._clock = 0

    @property
    def busy(self) -> list[tuple[int, Row]]:
        """The rows with an answer, and where they lie."""
        return [(index, row) for index, row in enumerate(self._rows) if row.answer is not None]

    @property
    def num_held(self) -> dict[int, int]:
        """How many tokens each slot's row holds."""
        return {row.slot: row.num_held for row in tuple(self._rows)}

    def admit(self, answer: Answer) -> Row | None:
        """The row for an answer, with what it may reuse in it, or None: there is no room yet."""
        order = answer.order
        row = self.free(order.slot)
        if row is None:
            return None
        num_kept = _num_common(row.tokens[: row.num_held], order.prompt) if order.reuse else 0
        num_kept = max(0, min(num_kept, len(order.prompt) - _MIN_NEW))
        num_needed = len(order.prompt) + (
            order.num_predict if order.num_predict >= 0 else self._memory.num_ctx
        )
        if not self._make_room(row, min(num_needed, self._memory.num_ctx)):
            return None
        self._clock += 1
        row.used = self._clock
        row.answer = answer
        row.num_held = min(num_kept, row.num_held)  # making room may have emptied it
        source = _reader(self._rows, order)
        num = min(len(order.prompt) - _MIN_NEW, source.num_held) if source else 0
        if source and num > 0 and self._memory.copy(self._rows.index(source), self._rows.index(row), num):
            row.hold(num)
        row.tokens = answer.begin(row.num_held)
        return row

    def free(self, slot: int) -> Row | None:
        """The row of this slot, of -1 any one, if it has no answer."""
        free = [row for row in self._rows if row.answer is None and slot in (-1, row.slot)]
        return min(free, key=lambda row: row.used, default=None)

    def lay(self, slot: int, tokens: Sequence[int]) -> Row | None:
        """The free row of a slot, for the caller to put the keys and values of these tokens into. None: there is no room."""
        row = self.free(slot)
        if row is None or len(tokens) > self._memory.num_ctx:
            return None
        self._empty(row)
        if not self._make_room(row, len(tokens)):
            return None
        row.num_reserved = 0
        row.tokens = list(tokens)
        row.hold(len(tokens))
        return row

    def views(self, row: Row, num_tokens: int) -> Sequence[NDArray[np.floating[Any]]]:
        """The keys and values of a row's first tokens."""
        return self._memory.views(self._rows.index(row), num_tokens)

    def release(self, row: Row) -> None:
        """The answer has ended; what it put into the row stays there to be reused."""
        order = row.answer.order if row.answer is not None else None
        if order is not None and (order.slot < 0 or order.prepare is not None):
            row.num_held = 0  # nobody may reuse it: it was nobody's slot, or other images have these tokens
        row.answer = None
        row.num_reserved = 0

    def spoil(self, row: Row) -> None:
        """A step failed in this row: nobody knows what it holds."""
        self.release(row)
        row.tokens, row.num_held = [], 0

    def window(self) -> tuple[int, Sequence[Row]]:
        """The first row that decodes, and all rows from there to the last one that does. Rows in between are computed along."""
        decoding = [index for index, row in enumerate(self._rows) if row.is_decoding]
        if not decoding:
            return 0, ()
        if len(decoding) <= decoding[-1] - decoding[0]:
            self._compact(decoding)
            decoding = [index for index, row in enumerate(self._rows) if row.is_decoding]
        num = max(decoding[-1] + 1 - decoding[0], self._memory.min_rows)
        first = min(decoding[0], len(self._rows) - num)
        return first, self._rows[first : first + num]

    def _compact(self, decoding: Sequence[int]) -> None:
        """Move the last row into the first gap, once that gap has cost about as much as moving costs."""
        first = next(index for index in range(decoding[0], decoding[-1]) if index not in decoding)
        gap, last = self._rows[first], self._rows[decoding[-1]]
        gap.patience += 1
        if gap.patience < _PATIENCE:
            return
        gap.patience = 0
        num_tokens = max(gap.num_held, last.num_held)
        grown = sum(max(num_tokens, row.num_taken) - row.num_taken for row in (gap, last))
        if _num_taken(self._rows) + grown > self._num_tokens:
            return
        self._memory.swap(first, decoding[-1], num_tokens)
        gap.num_touched, last.num_touched = (
            max(last.num_touched, num_tokens),
            max(gap.num_touched, num_tokens),
        )
        self._rows[first], self._rows[decoding[-1]] = last, gap

    def _make_room(self, row: Row, num_needed: int) -> bool:
        """Reserve so many tokens for a row; other prefixes make room, those used longest ago first."""
        row.num_reserved = num_needed
        idle = sorted((each for each in self._rows if each.answer is None), key=lambda each: each.used)
        for each in idle:
            if _num_taken(self._rows) <= self._num_tokens:
                return True
            if each is not row and each.num_touched:
                self._empty(each)
        if _num_taken(self._rows) > self._num_tokens and row.num_touched > num_needed:
            self._empty(row)  # it held a longer conversation than the one that comes
        if _num_taken(self._rows) <= self._num_tokens:
            return True
        row.num_reserved = 0
        return False

    def _empty(self, row: Row) -> None:
        self._memory.free(self._rows.index(row))
        row.tokens, row.num_held, row.num_touched = [], 0, 0


def _reader(rows: Sequence[Row], order: Order) -> Row | None:
    """The row of the order that has read this one's prompt, if that is still there."""
    if order.behind is None:
        return None
    return next((each for each in rows if each.answer and each.answer.order is order.behind), None)


def _num_taken(rows: Sequence[Row]) -> int:
    return sum(row.num_taken for row in rows)


def _num_common(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens two texts begin alike."""
    num = 0
    for ours, theirs in zip(held, prompt, strict=False):
        if ours != theirs:
            break
        num += 1
    return num
