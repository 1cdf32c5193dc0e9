"""Which texts go through an encoder together. Pure.

A text that is shorter than the longest of its batch is padded, and padding is computed like any token. So texts go with
others of about their length, in steps small enough that whoever comes later, or leaves, does not wait long.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

MAX_ROWS = 32  # more were not faster (2 cores, six layers of 384: 8 rows of 30 tokens reach the full rate)
MAX_TOKENS = 1024  # of a step, padding included
_SHORTEST = 0.75  # of the longest in its batch: at most a quarter is padding
_SLACK = 2  # tokens; among very short texts a batch is worth more than the padding


@dataclass(slots=True)
class Waiting:
    """The texts of one request that are still to be done: their lengths in tokens, rising, and which each is."""

    lengths: list[int]
    indices: list[int]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Waiting":
        """The texts of these lengths, none of them done."""
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return cls([lengths[index] for index in order], order)

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, end: int, low: int, room: int) -> list[int]:
        """Take out at most `room` texts: those before position `end`, longest first, down to `low` tokens."""
        start = max(bisect_left(self.lengths, low, 0, end), end - room)
        taken = self.indices[start:end]
        del self.lengths[start:end], self.indices[start:end]
        return taken


def step(requests: Sequence[Waiting]) -> list[tuple[int, int]]:
    """Take the texts of one step out of `requests`, as pairs of request and text.

    The first request leads with its longest text; the others add texts of about that length where there is room.
    """
    longest = requests[0].lengths[-1]
    low = max(1, min(math.ceil(longest * _SHORTEST), longest - _SLACK))
    room = max(1, min(MAX_ROWS, MAX_TOKENS // longest))
    found: list[tuple[int, int]] = []
    for number, waiting in enumerate(requests):
        end = bisect_left(waiting.lengths, longest + 1)
        found += ((number, index) for index in waiting.take(end, low, room - len(found)))
        if len(found) == room:
            break
    return found
