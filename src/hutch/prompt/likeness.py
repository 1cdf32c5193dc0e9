"""Vectors of meaning compared. Imports NumPy, which takes a tenth of a second: import it where it is needed."""

from collections.abc import Sequence

import numpy as np


def alike(question: Sequence[float], vectors: bytes, num_best: int) -> tuple[int, ...]:
    """The numbers of the vectors nearest to a question's, the nearest first.

    `vectors` are rows of 32-bit numbers, little-endian, each as long as `question`. All have unit length.
    """
    rows = np.frombuffer(vectors, "<f4").reshape(-1, len(question))
    likeness = rows @ np.asarray(question, np.float32)
    return tuple(map(int, np.argsort(-likeness, kind="stable")[:num_best]))
