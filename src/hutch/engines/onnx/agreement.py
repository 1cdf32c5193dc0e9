"""Whether a provider answers as the CPU does. One that computes something else without an error would not be noticed else.

It has been seen: OpenVINO's CPU device loads a decoder with 4-bit weights and gives other logits for it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hutch.engines.onnx.providers import ProviderFailed
from hutch.engines.onnx.sampling import Floats

Answers = Callable[[Sequence[int]], Floats]  # tokens to the logits [vocab] after the last one
_LENGTHS = (3, 8, 16, 24)
MAX_DISTANCE = 0.14  # of results, by their length: of unit vectors, a cosine of 0.99
MAX_DIVERGENCE = 0.15  # nats, on average: what the accuracy gate for quantised variants allows


def check(candidate: Answers, reference: Answers, vocab_size: int) -> None:
    """Raise ProviderFailed where both disagree on what comes next, on average over some short prompts."""
    divergences = [divergence(reference(prompt).copy(), candidate(prompt)) for prompt in prompts(vocab_size)]
    mean = float(np.mean(divergences))
    if not mean <= MAX_DIVERGENCE:  # nor is NaN
        raise ProviderFailed(
            f"its answers are not the CPU's: they differ by {mean:.2f} nats on average, and {MAX_DIVERGENCE} is allowed"
        )


def check_outputs(candidate: Sequence[Floats], reference: Sequence[Floats]) -> None:
    """Raise ProviderFailed where an encoder's outputs for the same texts lie apart."""
    if [each.shape for each in candidate] != [each.shape for each in reference]:
        raise ProviderFailed("its results are not the CPU's: they have other shapes")
    found, wanted = (np.concatenate([each.ravel() for each in some]) for some in (candidate, reference))
    distance = float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), np.finfo(np.float32).tiny))
    if not distance <= MAX_DISTANCE:
        raise ProviderFailed(
            f"its results are not the CPU's: they differ by {distance:.2f} of their length, and {MAX_DISTANCE} is allowed"
        )


def prompts(vocab_size: int) -> list[list[int]]:
    """Tokens from everywhere in the vocabulary, always the same."""
    return [[(index * 7919 + 11) % vocab_size for index in range(1, length + 1)] for length in _LENGTHS]


def divergence(reference: Floats, candidate: Floats) -> float:
    """The Kullback-Leibler divergence of two rows of logits, in nats."""
    ours, theirs = _log_softmax(reference), _log_softmax(candidate)
    return float(np.sum(np.exp(ours) * (ours - theirs)))


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits.astype(np.float64) - logits.max()
    normalised: Floats = (shifted - np.log(np.exp(shifted).sum())).astype(np.float32)
    return normalised
