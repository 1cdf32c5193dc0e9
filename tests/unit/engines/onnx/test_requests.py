"""Bodies of `/completion`: what is understood, and what is refused by name."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hutch.core.errors import BadInput
from hutch.engines.onnx.requests import Completion

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
_NAMES = (
    *("prompt", "n_predict", "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty", "seed", "stop", "n_probs", "logit_bias"),
    *("json_schema", "grammar", "regex", "cache_prompt", "id_slot", "n_keep", "return_progress", "stream"),
    *("post_sampling_probs", "preserved_tokens"),
)


def test_a_body_as_the_front_sends_it() -> None:
    asked = Completion.parse(
        {
            "stream": True,
            "return_progress": True,
            "temperature": 0.5,
            "top_k": 3,
            "seed": 7,
            "n_predict": 20,
            "n_keep": 4,
            "stop": ["a", ""],
            "logit_bias": [[5, 1.5], [6, False]],
            "prompt": [1, 2, "and"],
            "n_probs": 2,
            "id_slot": 1,
            "cache_prompt": True,
        }
    )
    assert asked.prompt == (1, 2, "and")
    assert (asked.sampling.temperature, asked.sampling.top_k, asked.sampling.seed) == (0.5, 3, 7)
    assert asked.sampling.logit_bias == ((5, 1.5), (6, -math.inf))
    assert (asked.sampling.num_probs, asked.num_predict, asked.stop) == (2, 20, ("a",))
    assert (asked.slot, asked.reuse, asked.is_stream, asked.wants_progress) == (1, True, True, True)


def test_what_is_null_is_not_given() -> None:
    asked = Completion.parse({"prompt": "x", "n_predict": None, "seed": None, "stop": None})
    assert (asked.num_predict, asked.stop) == (-1, ())


def test_a_prompt_may_come_with_images() -> None:
    asked = Completion.parse({"prompt": {"prompt_string": "x", "multimodal_data": ["aGk="]}})
    assert (asked.prompt, asked.images) == (("x",), ("aGk=",))
    assert Completion.parse({"prompt": "unread"}, ("y",), ("aGk=",)).images == ("aGk=",)


def test_nothing_is_reused_without_a_slot() -> None:
    assert not Completion.parse({"prompt": "x", "cache_prompt": True}).reuse


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [["x"]]}, "prompt"),
        ({"prompt": {"prompt_string": "x", "multimodal_data": [5]}}, "multimodal_data"),
        ({"prompt": {"multimodal_data": ["aGk="]}}, "prompt"),
        ({"prompt": "x", "n_predict": "many"}, "n_predict"),
        ({"prompt": "x", "n_predict": -2}, "n_predict"),
        ({"prompt": "x", "n_probs": 101}, "n_probs"),
        ({"prompt": "x", "temperature": "warm"}, "temperature"),
        ({"prompt": "x", "top_p": 1.5}, "top_p"),
        ({"prompt": "x", "stop": ["y"] * 65}, "stop"),
        ({"prompt": "x", "stop": ["y" * 1025]}, "stop"),
        ({"prompt": "x", "stop": [5]}, "stop"),
        ({"prompt": "x", "logit_bias": {"5": 1}}, "logit_bias"),
        ({"prompt": "x", "logit_bias": [[5]]}, "logit_bias"),
        ({"prompt": "x", "logit_bias": [["5", 1]]}, "logit_bias"),
        ({"prompt": "x", "logit_bias": [[5, True]]}, "logit_bias"),
        ({"prompt": "x", "json_schema": "{}"}, "json_schema"),
        ({"prompt": "x", "grammar": 5}, "grammar"),
        ({"prompt": "x", "grammar": "a", "regex": "b"}, "only one"),
        ({"prompt": "x", "post_sampling_probs": True}, "post_sampling_probs"),
        ({"prompt": "x", "id_slot": -2}, "id_slot"),
        ({"prompt": "x", "stream": 1}, "stream"),
    ],
)
def test_what_is_wrong_is_refused_by_name(body: dict[str, Any], name: str) -> None:
    with pytest.raises(BadInput, match=name):
        Completion.parse(body)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES))
def test_any_body_is_understood_or_refused(body: dict[str, Any]) -> None:
    try:
        asked = Completion.parse(body)
    except BadInput as error:
        assert error.message  # noqa: PT017
    else:
        assert asked.prompt is not None
