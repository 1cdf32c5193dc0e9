"""Sampling: against distributions worked out by hand, and against a plain implementation of llama.cpp's chain."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx.sampling import (
    Bools,
    Choice,
    Floats,
    Sampler,
    SamplingParams,
    known,
    known_all,
    largest,
)

PLAIN: Mapping[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
# 1 in 1000 of all correct samplers exceeds this chi-square, by degrees of freedom; seeds are fixed, so none does by chance.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}


def row(*shares: float) -> Floats:
    """The logits of a distribution."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(shares, np.float32))


def drawn(
    logits: Floats, history: Sequence[int] = (), mask: Bools | None = None, **params: Any
) -> Counter[int]:
    """How often each token is drawn in 2000 tries."""
    sampler = Sampler(SamplingParams(**{**PLAIN, "seed": 7, **params}), len(logits))
    return Counter(sampler.choose(logits, history, mask).token for _ in range(2000))


def assert_drawn(found: Counter[int], wanted: Mapping[int, float]) -> None:
    """What was drawn is what was to be drawn: these tokens and no others, as often as that."""
    assert set(found) == set(wanted)
    total = sum(wanted.values())
    if len(wanted) > 1:
        expected = {token: found.total() * share / total for token, share in wanted.items()}
        error = sum((found[token] - expected[token]) ** 2 / expected[token] for token in wanted)
        assert error < CHI_SQUARE[len(wanted) - 1], (found, expected)


FOUR = row(0.5, 0.25, 0.15, 0.1)


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, {0: 0.5, 1: 0.25, 2: 0.15, 3: 0.1}),
        ({"temperature": 0.5}, {0: 0.25, 1: 0.0625, 2: 0.0225, 3: 0.01}),
        ({"temperature": 2.0}, {0: 0.5**0.5, 1: 0.5, 2: 0.15**0.5, 3: 0.1**0.5}),
        ({"temperature": 0.0}, {0: 1}),
        ({"temperature": 1e-9}, {0: 1}),
        ({"top_k": 1}, {0: 1}),
        ({"top_k": 3}, {0: 0.5, 1: 0.25, 2: 0.15}),
        ({"top_k": 99}, {0: 0.5, 1: 0.25, 2: 0.15, 3: 0.1}),
        ({"top_p": 0.7}, {0: 0.5, 1: 0.25}),
        ({"top_p": 0.8}, {0: 0.5, 1: 0.25, 2: 0.15}),
        ({"top_p": 0.0}, {0: 1}),
        ({"min_p": 0.25}, {0: 0.5, 1: 0.25, 2: 0.15}),
        ({"min_p": 0.4}, {0: 0.5, 1: 0.25}),
        ({"min_p": 1.0}, {0: 1}),
        # Entropy is 1.208; surprises are 0.693, 1.386, 1.897, 2.303: the second token is the most typical.
        ({"typical_p": 0.2}, {1: 1}),
        ({"typical_p": 0.7}, {1: 0.25, 0: 0.5}),
        ({"typical_p": 0.8}, {1: 0.25, 0: 0.5, 2: 0.15}),
        # The order: top_p looks at what top_k has left, where 0.5 is two thirds; temperature comes last.
        ({"top_k": 2, "top_p": 0.66}, {0: 1}),
        ({"top_p": 0.7, "temperature": 2.0}, {0: 0.5**0.5, 1: 0.5}),
        ({"min_p": 0.4, "temperature": 2.0}, {0: 0.5**0.5, 1: 0.5}),
        ({"logit_bias": ((0, -math.inf),)}, {1: 0.25, 2: 0.15, 3: 0.1}),
        ({"logit_bias": ((3, math.log(5)),), "top_k": 2}, {0: 0.5, 3: 0.5}),
        ({"logit_bias": ((3, math.log(2)), (3, math.log(2.5))), "top_k": 2}, {0: 0.5, 3: 0.5}),
        ({"logit_bias": ((3, 100.0),), "temperature": 0}, {3: 1}),
    ],
)
def test_each_parameter_makes_its_own_distribution(params: dict[str, Any], wanted: dict[int, float]) -> None:
    assert_drawn(drawn(FOUR, **params), wanted)


@pytest.mark.parametrize(
    ("history", "params", "wanted"),
    [
        ([0, 0, 1], {"presence_penalty": math.log(2)}, {0: 0.25, 1: 0.125, 2: 0.15, 3: 0.1}),
        ([0, 0, 1], {"frequency_penalty": math.log(2)}, {0: 0.125, 1: 0.125, 2: 0.15, 3: 0.1}),
        ([0, 0, 1], {"repeat_penalty": 2.0}, {0: 0.25, 1: 0.0625, 2: 0.15, 3: 0.1}),  # logits are negative
        ([0, 1], {"presence_penalty": 99.0, "repeat_last_n": 1}, {0: 0.5, 2: 0.15, 3: 0.1}),
        ([0, 1], {"presence_penalty": 99.0, "repeat_last_n": -1}, {2: 0.15, 3: 0.1}),
        ([0, 1], {"presence_penalty": 99.0, "repeat_last_n": 0}, {0: 0.5, 1: 0.25, 2: 0.15, 3: 0.1}),
        ([0] * 64 + [1] * 64, {"presence_penalty": 99.0}, {0: 0.5, 2: 0.15, 3: 0.1}),
        ([0], {"presence_penalty": -math.log(2)}, {0: 1.0, 1: 0.25, 2: 0.15, 3: 0.1}),
        ([0, 999, -1], {"presence_penalty": 99.0, "temperature": 0}, {1: 1}),  # an image's place is no token
    ],
)
def test_penalties_make_what_was_said_less_likely(
    history: list[int], params: dict[str, Any], wanted: dict[int, float]
) -> None:
    assert_drawn(drawn(FOUR, history, **params), wanted)


def test_a_repeat_penalty_divides_what_is_positive() -> None:
    logits = np.array([4.0, 3.0, -1.0], np.float32)
    assert drawn(logits, [0], repeat_penalty=2.0, temperature=0) == {1: 2000}


def test_a_mask_forbids() -> None:
    assert_drawn(drawn(FOUR, mask=np.array([False, True, False, True])), {1: 0.25, 3: 0.1})
    assert_drawn(drawn(FOUR, mask=np.array([False, True, True, True]), top_k=2), {1: 0.25, 2: 0.15})
    assert drawn(FOUR, mask=np.array([False, False, True, True]), temperature=0) == {2: 2000}


def test_tokens_that_the_model_excludes_are_never_drawn() -> None:
    assert_drawn(drawn(row(0.6, 0, 0.4, 0), typical_p=0.999), {0: 0.6, 2: 0.4})
    assert_drawn(drawn(row(0.6, 0, 0.4, 0), top_k=3), {0: 0.6, 2: 0.4})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("params", [{"temperature": 0}, {}, {"top_k": 2}])
def test_logits_that_are_no_numbers_are_an_error(bad: float, params: dict[str, Any]) -> None:
    logits = FOUR.copy()
    logits[2] = bad
    with pytest.raises(EngineFailed, match="no number"):
        drawn(logits, **params)
    with pytest.raises(EngineFailed, match="no number"):
        drawn(logits, mask=np.array([True, True, False, False]), **params)
    with pytest.raises(EngineFailed, match="no number"):
        known_all(logits[None], [0], 0)
    with pytest.raises(EngineFailed, match="no number"):
        drawn(np.full(4, -np.inf, np.float32), **params)


@pytest.mark.parametrize("temperature", [0, 1])
def test_where_nothing_is_left_the_request_is_at_fault(temperature: float) -> None:
    with pytest.raises(BadInput, match="forbid them all"):
        drawn(
            FOUR,
            mask=np.array([True, False, False, False]),
            logit_bias=((0, -math.inf),),
            temperature=temperature,
        )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"repeat_penalty": 0.0}, "repeat_penalty"),
        ({"logit_bias": ((0, math.nan),)}, "logit_bias"),
        ({"logit_bias": ((0, math.inf),)}, "logit_bias"),
        ({"logit_bias": ((4, 1.0),)}, "no token 4"),
        ({"logit_bias": ((-1, 1.0),)}, "no token -1"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(params: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        drawn(FOUR, **params)


def test_a_large_vocabulary_is_drawn_from_as_a_small_one() -> None:
    shares = np.full(70_001, 1e-12, np.float32)
    shares[[5, 300, 65_535, 70_000]] = 0.5, 0.25, 0.15, 0.1
    assert_drawn(drawn(np.log(shares)), {5: 0.5, 300: 0.25, 65_535: 0.15, 70_000: 0.1})


def test_every_token_can_be_drawn_from_a_flat_distribution() -> None:
    found = drawn(np.zeros(1000, np.float32))
    blocks = Counter(token // 250 for token in found.elements())
    assert_drawn(blocks, dict.fromkeys(range(4), 0.25))


def test_the_logits_stay_as_they_are() -> None:
    before = FOUR.copy()
    drawn(FOUR, [0, 1], np.array([True, True, False, True]), repeat_penalty=2.0, logit_bias=((1, 3.0),))
    assert (before == FOUR).all()


def test_the_same_seed_gives_the_same_tokens() -> None:
    def said(seed: int) -> list[int]:
        sampler = Sampler(SamplingParams(**PLAIN, seed=seed), 4)
        return [sampler.choose(FOUR, ()).token for _ in range(64)]

    assert said(3) == said(3) != said(4)
    assert said(-1) != said(-1)


def test_rounding_that_swaps_two_tokens_swaps_no_answer() -> None:
    """In another batch the same logits come out a little different."""
    shares = np.random.default_rng(5).standard_normal(500).astype(np.float32)
    other = shares + np.float32(1e-6) * np.random.default_rng(6).standard_normal(500).astype(np.float32)
    one, two = (Sampler(SamplingParams(seed=1), 500) for _ in range(2))
    assert [one.choose(shares, ()).token for _ in range(200)] == [
        two.choose(other, ()).token for _ in range(200)
    ]


def near(token: int, logprob: float, *top: tuple[int, float]) -> Any:
    """A choice with about these log-probabilities."""
    return (token, pytest.approx(logprob), tuple((each, pytest.approx(value)) for each, value in top))


def test_log_probabilities_are_the_models_own() -> None:
    sampler = Sampler(SamplingParams(temperature=0, num_probs=2, logit_bias=((2, 50.0),)), 4)
    choice = sampler.choose(FOUR, ())
    assert choice == near(2, math.log(0.15), (0, math.log(0.5)), (1, math.log(0.25)))
    assert Sampler(SamplingParams(temperature=0), 4).choose(FOUR, ()) == Choice(0, None, ())
    assert Sampler(SamplingParams(temperature=0, num_probs=0), 4).choose(FOUR, ()).top == ()


def test_a_prompts_log_probabilities_are_those_of_its_own_tokens() -> None:
    rows = np.stack([FOUR + 3, FOUR[::-1]])
    first, second = known_all(rows, [1, 0], 1)
    assert first == near(1, math.log(0.25), (0, math.log(0.5)))
    assert second == near(0, math.log(0.1), (3, math.log(0.5)))
    with pytest.raises(ValueError):
        known_all(rows, [1], 1)


def test_log_probabilities_hold_for_large_vocabularies() -> None:
    logits = (np.random.default_rng(0).standard_normal(200_000) * 5).astype(np.float32)
    wide = logits.astype(np.float64)
    total = wide.max() + math.log(np.exp(wide - wide.max()).sum())
    choice = known(logits, 77, 5)
    assert choice.logprob == pytest.approx(wide[77] - total, abs=1e-5)
    assert [token for token, _ in choice.top] == list(np.argsort(-logits, kind="stable")[:5])


@given(
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.integers(0, 1 << 32),
    st.sampled_from([1, 3, 1000]),
)
@settings(max_examples=60, deadline=None)
def test_the_largest_are_those_that_a_full_sort_finds(size: int, count: int, seed: int, kinds: int) -> None:
    values = np.random.default_rng(seed).integers(0, kinds, size).astype(np.float32)
    wanted = np.sort(np.argsort(-values, kind="stable")[:count])
    assert (largest(values, count) == wanted).all()


def plain_chain(logits: Sequence[float], history: Sequence[int], params: SamplingParams) -> dict[int, float]:
    """llama.cpp's default chain, written as plainly as can be: the distribution that the token is drawn from."""
    values = dict(enumerate(logits))
    for token, bias in params.logit_bias:
        values[token] += bias
    recent = (
        history[-params.repeat_last_n :]
        if params.repeat_last_n > 0
        else history
        if params.repeat_last_n
        else []
    )
    for token, count in Counter(recent).items():
        value = values[token]
        value = value * params.repeat_penalty if value <= 0 else value / params.repeat_penalty
        values[token] = value - count * params.frequency_penalty - params.presence_penalty
    values = {token: value for token, value in values.items() if value > -math.inf}
    by_value = sorted(values, key=lambda token: (-values[token], token))
    if params.temperature == 0:
        return {by_value[0]: 1.0}
    values = {token: values[token] for token in by_value[: params.top_k or None]}
    if params.typical_p < 1:
        shares = softmax(values)
        entropy = -sum(share * math.log(share) for share in shares.values() if share)
        order = sorted(shares, key=lambda token: (abs(-math.log(shares[token]) - entropy), token))
        values = cut(values, order, shares, lambda total: total > params.typical_p)
    if params.top_p < 1:
        order = sorted(values, key=lambda token: (-values[token], token))
        values = cut(values, order, softmax(values), lambda total: total >= params.top_p)
    if params.min_p > 0:
        bound = max(values.values()) + math.log(params.min_p)
        values = {token: value for token, value in values.items() if value >= bound}
    return softmax({token: value / params.temperature for token, value in values.items()})


def softmax(values: Mapping[int, float]) -> dict[int, float]:
    """Logits as shares."""
    highest = max(values.values())
    total = sum(math.exp(value - highest) for value in values.values())
    return {token: math.exp(value - highest) / total for token, value in values.items()}


def cut(
    values: Mapping[int, float], order: list[int], shares: Mapping[int, float], is_enough: Any
) -> dict[int, float]:
    """The first in this order, until their shares are enough."""
    total = 0.0
    for index, token in enumerate(order):
        total += shares[token]
        if is_enough(total):
            order = order[: index + 1]
            break
    return {token: values[token] for token in order}


SHARES = st.sampled_from([0.05, 0.21, 0.47, 0.73, 0.9, 0.97, 1.0])


@given(
    logits=st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12, unique=True),
    history=st.lists(st.integers(0, 1), max_size=6),
    params=st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.0, 0.5, 1.0, 1.7]),
        top_k=st.integers(0, 14),
        top_p=SHARES,
        min_p=st.sampled_from([0.0, 0.03, 0.31]),
        typical_p=SHARES,
        repeat_last_n=st.sampled_from([-1, 0, 2, 64]),
        repeat_penalty=st.sampled_from([1.0, 1.3, 0.7]),
        presence_penalty=st.sampled_from([0.0, 0.6, -0.4]),
        frequency_penalty=st.sampled_from([0.0, 0.37]),
        seed=st.just(11),
        logit_bias=st.sampled_from([(), ((0, 1.7),), ((1, -math.inf),)]),
    ),
)
@settings(max_examples=150, deadline=None)
def test_the_chain_is_llama_cpps(logits: list[float], history: list[int], params: SamplingParams) -> None:
    gaps = np.diff(np.sort(logits))
    assume(gaps.min() > 1e-3)  # what is all but equal may be ordered either way
    wanted = plain_chain(logits, history, params)
    array = np.array(logits, np.float32)
    sampler = Sampler(params, len(array))
    found = Counter(sampler.choose(array, history).token for _ in range(300))
    assert set(found) <= set(wanted)
    assert {token for token, share in wanted.items() if share > 0.05} <= set(found)
    for token, share in wanted.items():  # five standard deviations
        assert abs(found[token] - 300 * share) < 5 * math.sqrt(300 * share * (1 - share)) + 2
