"""Whether an answer depends on what else is computed: tried when a model is loaded, for only the kernels can tell.

The rows beside an answer, and the chunks in which its prompt is read, depend on the other requests.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hutch.engines.onnx.sampling import Floats

_NUM_READ = 24  # tokens of the prompt that is read in one chunk and in two


class Decoder(Protocol):
    """What is tried."""

    num_rows: int
    num_ctx: int
    vocab_size: int

    def prefill(self, row: int, ids: Sequence[int], start: int, *, want_logits: bool = True) -> Floats | None:
        """Put tokens into a row; the logits [vocab] after the last one."""

    def decode(self, first: int, ids: Sequence[int], starts: Sequence[int]) -> Floats:
        """Put a token into each row from the first one on; the logits [rows, vocab]."""


def least_rows(decoder: Decoder) -> int | None:
    """How many rows a step needs at least so that others make no difference; None where they always do.

    Kernels for one row may round otherwise than those for several, and some scale all rows by the largest number in any.
    """
    num_rows = decoder.num_rows
    sizes = sorted({1, 2, 3, 4, num_rows} & set(range(1, num_rows + 1)))
    found = {num: decoder.decode(0, [1] * num, [0] * num).copy() for num in sizes}
    others = _tokens(decoder, num_rows)
    beside = decoder.decode(0, [1, *others[1:]], [0] * num_rows)[0].copy()
    for least in sizes[:2]:
        same = found[least][0]
        alike = (row for num in sizes if num >= least for row in found[num])
        if np.array_equal(beside, same) and all(np.array_equal(row, same) for row in alike):
            return least
    return None


def reads_alike(decoder: Decoder) -> bool:
    """Whether a prompt read in two chunks is followed by the very logits that follow it read in one."""
    ids = _tokens(decoder, min(_NUM_READ, decoder.num_ctx - 1))
    half = len(ids) // 2
    whole = decoder.prefill(0, ids, 0)
    assert whole is not None  # noqa: S101  # they were asked for
    whole = whole.copy()
    if half:
        decoder.prefill(0, ids[:half], 0, want_logits=False)
    parts = decoder.prefill(0, ids[half:], half)
    return parts is not None and np.array_equal(parts, whole)


def _tokens(decoder: Decoder, num: int) -> list[int]:
    """Different ones, from everywhere in the vocabulary."""
    return [(index * 7919 + 11) % decoder.vocab_size for index in range(num)]
