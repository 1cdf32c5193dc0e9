"""Choosing the next token. Pure NumPy: takes a row of logits, gives a token, and keeps nothing but its own dice.

The steps, their order and their meaning are those of llama.cpp's default chain, so that both engines behave alike:
bias, penalties, top_k, typical_p, top_p, min_p, temperature. Each looks at what the one before it has left.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hutch.core.errors import BadInput, EngineFailed
from hutch.core.options import OPTION_TYPES, typed_option

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ids = NDArray[np.intp]

_MAX_BIAS = 1e9  # of a single precision number this leaves room for the logit itself
_FIRST_GUESS = 256  # so many candidates hold 0.9 of the mass nearly always
_NUM_BLOCKS = 2048
_RUN = 256


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one answer's tokens are chosen. Raises BadInput for what is out of range.

    `temperature` 0 takes the likeliest token. `top_k` 0, `top_p` 1, `min_p` 0, `typical_p` 1 leave every token in.
    Penalties look at the last `repeat_last_n` tokens, prompt included; -1: at all of them. A negative `seed` is a new one.
    `logit_bias` adds to a token's logit; minus infinity forbids it. `num_probs`: how many alternatives are reported with
    each token; None: no log-probabilities at all.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = -1
    logit_bias: tuple[tuple[int, float], ...] = ()
    num_probs: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in OPTION_TYPES:
                typed_option(field.name, getattr(self, field.name))
        for token, bias in self.logit_bias:
            if not (bias == -math.inf or abs(bias) <= _MAX_BIAS):
                raise BadInput(
                    f"logit_bias: {bias} for token {token} is not between -{_MAX_BIAS:g} and {_MAX_BIAS:g}",
                    hint="To forbid a token, give -100 or less.",
                    param="logit_bias",
                )

    @property
    def has_penalties(self) -> bool:
        """Whether what was said already makes a difference."""
        return self.repeat_last_n != 0 and (
            self.repeat_penalty,
            self.presence_penalty,
            self.frequency_penalty,
        ) != (1, 0, 0)


class Choice(NamedTuple):
    """A token, and how likely the model itself found it: natural logarithms of the distribution before any sampling.

    `logprob` is None where `num_probs` did not ask for it. `top`: the likeliest tokens, likeliest first.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one answer. Its dice are its own: what else is in the batch changes nothing.

    Raises BadInput for a bias on a token that is not in the vocabulary.
    """

    def __init__(self, params: SamplingParams, vocab_size: int) -> None:
        bias: Counter[int] = Counter()
        for token, value in params.logit_bias:
            if not 0 <= token < vocab_size:
                raise BadInput(
                    f"logit_bias: there is no token {token}",
                    hint=f"This model's tokens are 0 to {vocab_size - 1}.",
                    param="logit_bias",
                )
            bias[token] += value  # type: ignore[assignment]  # a Counter counts in any number
        self._params = params
        self._biased = np.array(list(bias), np.intp)
        self._bias = np.array(list(bias.values()), np.float32)
        # New memory for each token would cost more than the work in it.
        self._scratch = np.empty(vocab_size, np.float32)
        self._dice = np.random.Generator(np.random.PCG64(params.seed if params.seed >= 0 else None))

    def choose(self, logits: Floats, history: Sequence[int], mask: Bools | None = None) -> Choice:
        """Choose a token. `logits`: [vocab], left as it is; `history`: the tokens so far, the prompt's first; `mask`: [vocab].

        Raises EngineFailed for logits that are no numbers, BadInput where mask and bias forbid every token.
        """
        _check(logits)
        with np.errstate(over="ignore", under="ignore"):
            weighed = self._weighed(logits, history, mask)
            token = int(weighed.argmax())
            if weighed[token] == -np.inf:
                raise BadInput(
                    "no token is left to choose: the format and logit_bias forbid them all",
                    hint="Leave logit_bias out, or change the format.",
                )
            if self._params.temperature > 0:
                token = self._drawn(*self._candidates(weighed))
            num_probs = self._params.num_probs
            return Choice(token) if num_probs is None else known(logits, token, num_probs)

    def _weighed(self, logits: Floats, history: Sequence[int], mask: Bools | None) -> Floats:
        """The logits with bias and penalties; those of forbidden tokens are minus infinity."""
        params = self._params
        if mask is None and not params.has_penalties and not self._biased.size:
            return logits
        weighed = self._scratch
        if mask is not None and 2 * np.count_nonzero(mask) < len(mask):
            allowed = np.flatnonzero(mask)
            weighed.fill(-np.inf)
            weighed[allowed] = logits[allowed]
        else:
            np.copyto(weighed, logits)
            if mask is not None:
                weighed[np.flatnonzero(~mask)] = -np.inf
        if self._biased.size:
            weighed[self._biased] += self._bias
        if params.has_penalties:
            recent = history if params.repeat_last_n < 0 else history[-params.repeat_last_n :]
            _penalise(weighed, recent, params)
        return weighed

    def _candidates(self, logits: Floats) -> tuple[Ids, Floats]:
        """The tokens that may be drawn, in the order of their numbers, and their logits."""
        params = self._params
        ids = largest(logits, params.top_k or len(logits))
        left = logits[ids] if len(ids) < len(logits) else logits
        if left.min() == -np.inf:
            ids = ids[left > -np.inf]
            left = logits[ids]
        if params.typical_p < 1:
            logprobs = left - _log_total(left)
            shares = np.exp(logprobs)
            surprise = np.abs(logprobs - np.dot(shares, logprobs))
            ids = ids[_heaviest(-surprise, shares, params.typical_p, is_passed=True)]
            left = logits[ids]
        if params.top_p < 1:
            shares = np.exp(left - _log_total(left))
            ids = ids[_heaviest(left, shares, params.top_p, is_passed=False)]
            left = logits[ids]
        if params.min_p > 0:
            ids = ids[left >= left.max() + np.float32(math.log(params.min_p))]
            left = logits[ids]
        return ids, left

    def _drawn(self, ids: Ids, logits: Floats) -> int:
        """One token, by the dice.

        They stand in the order of their numbers, not of their likelihood: two tokens that are about as likely as each
        other must not change places when rounding differs from one batch to the next.
        """
        weights = np.exp((logits - logits.max()) / np.float32(self._params.temperature))
        return int(ids[_reached(weights, self._dice.random())])


def _reached(weights: Floats, share: float) -> int:
    """Where the running total passes this share of the whole. First by runs of weights: one total of all takes long."""
    num_whole = len(weights) - len(weights) % _RUN
    sums = np.append(weights[:num_whole].reshape(-1, _RUN).sum(axis=1), weights[num_whole:].sum())
    totals = np.cumsum(sums, dtype=np.float64)
    wanted = share * totals[-1]
    run = _first_above(totals, wanted)
    inside = np.cumsum(weights[run * _RUN : (run + 1) * _RUN], dtype=np.float64)
    return run * _RUN + _first_above(inside, wanted - (totals[run] - sums[run]))


def _first_above(totals: NDArray[np.float64], wanted: float) -> int:
    """Which running total is the first above that; where rounding leaves none, the last that adds anything."""
    return min(int(np.searchsorted(totals, wanted, side="right")), int(np.searchsorted(totals, totals[-1])))


def known(logits: Floats, token: int, num_top: int) -> Choice:
    """A token that is known already, with its log-probability and the likeliest ones. `logits`: [vocab], raw."""
    log_total = _log_total(logits)
    best = largest(logits, num_top) if num_top else np.empty(0, np.intp)
    best = best[np.argsort(-logits[best], kind="stable")]
    top = tuple((int(each), float(logits[each] - log_total)) for each in best)
    return Choice(token, float(logits[token] - log_total), top)


def known_all(logits: Floats, tokens: Sequence[int], num_top: int) -> tuple[Choice, ...]:
    """The log-probabilities of a prompt: `logits` [n, vocab], whose row i is what the model expected before `tokens[i]`.

    The first token of a prompt has no row, so leave it out. Raises EngineFailed for logits that are no numbers.
    """
    choices = []
    for row, token in zip(logits, tokens, strict=True):
        _check(row)
        choices.append(known(row, token, num_top))
    return tuple(choices)


def largest(values: Floats, count: int) -> Ids:
    """Where the `count` largest values stand, in ascending order. Of equal ones the first are taken.

    The values go into columns, and only each column's largest is ordered: the count-th of these is a bound that at least
    so many values reach, and seldom many more. That takes a third of the time that partitioning all of them does.
    """
    if count >= len(values):
        return np.arange(len(values))
    num_whole = len(values) - len(values) % _NUM_BLOCKS
    if num_whole and count < _NUM_BLOCKS // 4:
        tops = values[:num_whole].reshape(-1, _NUM_BLOCKS).max(axis=0)
        near = np.flatnonzero(values >= _nth(tops, count))
    else:
        near = np.arange(len(values))
    found = values[near]
    bound = _nth(found, count)
    above = near[found > bound]
    equal = near[found == bound][: count - len(above)]
    return np.sort(np.concatenate((above, equal)))


def _nth(values: Floats, count: int) -> np.float32:
    """The count-th largest value."""
    at = len(values) - count
    return np.float32(np.partition(values, at)[at])


def _heaviest(values: Floats, shares: Floats, mass: float, *, is_passed: bool) -> Ids:
    """Where the largest values stand, in ascending order: as many as it takes until their shares reach or pass the mass."""
    count = _FIRST_GUESS
    while True:
        best = largest(values, count)
        best = best[np.argsort(-values[best], kind="stable")]
        total = np.cumsum(shares[best], dtype=np.float64)
        size = int(np.searchsorted(total, mass, side="right" if is_passed else "left")) + 1
        if size <= len(best) or len(best) == len(values):
            return np.sort(best[:size])
        count *= 8


def _penalise(logits: Floats, recent: Sequence[int], params: SamplingParams) -> None:
    """Make what was said already less likely, in place."""
    counts = Counter(token for token in recent if 0 <= token < len(logits))
    said = np.fromiter(counts, np.intp, len(counts))
    times = np.fromiter(counts.values(), np.float32, len(counts))
    found = logits[said]
    repeated = np.float32(params.repeat_penalty)
    found = np.where(found <= 0, found * repeated, found / repeated)  # less likely, whatever the sign
    logits[said] = found - times * np.float32(params.frequency_penalty) - np.float32(params.presence_penalty)


def _log_total(logits: Floats) -> np.float32:
    """What to take from logits to have log-probabilities."""
    highest = logits.max()
    return np.float32(highest + np.log(np.exp(logits - highest).sum()))


def _check(logits: Floats) -> None:
    if not np.isfinite(logits.max()):  # NaN wins every comparison in NumPy
        raise EngineFailed(
            "the model computed no number for its next token",
            hint="The model's files are damaged, or its weights overflow: pull it anew, or another quantisation.",
        )
