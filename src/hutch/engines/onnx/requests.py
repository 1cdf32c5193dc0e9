"""`Completion`: the body of a `/completion`, checked and bounded. Fields that llama-server knows and Hutch does not send are not read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hutch.core.errors import BadInput, NotBuilt
from hutch.engines.onnx.sampling import SamplingParams

_MAX_STOPS = 64
_MAX_STOP_CHARS = 1024
_MAX_BIASES = 1 << 16
_MAX_PROBS = 100
_MAX_PRESERVED = 256
_MAX_PREDICT = 1 << 24
_MAX_CHOICES = 1024
_SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty", "seed"),
)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Completion:
    """What is asked. `prompt`: texts and token ids in a row; at most one of `json_schema`, `grammar` and `regex` is not None."""

    prompt: tuple[str | int, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    num_predict: int = -1
    stop: tuple[str, ...] = ()
    preserved: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | bool | None = None
    grammar: str | None = None
    regex: str | None = None
    is_stream: bool = False
    wants_progress: bool = False
    slot: int = -1
    reuse: bool = False
    num_choices: int = 1
    further_slots: tuple[int, ...] = ()  # of all choices but the first
    images: tuple[str, ...] = ()  # PNG in base64, for where the model's marker stands in the prompt

    @classmethod
    def parse(
        cls,
        body: Mapping[str, Any],
        prompt: tuple[str | int, ...] | None = None,
        images: tuple[str, ...] = (),
    ) -> "Completion":
        """Read a body; `prompt`, where one was rendered from messages, with its images. Raises BadInput, which names the field."""
        if body.get("post_sampling_probs"):
            raise NotBuilt(
                "post_sampling_probs: only probabilities before sampling are given",
                param="post_sampling_probs",
            )
        schema = body.get("json_schema")
        if schema is not None and not isinstance(schema, dict | bool):
            raise BadInput("json_schema: a JSON object is needed", param="json_schema")
        if isinstance(schema, dict) and not schema:
            schema = None  # llama-server takes {} for none
        grammar, regex = _of(body, "grammar", str, "") or None, _of(body, "regex", str, "") or None
        if sum(form is not None for form in (schema, grammar, regex)) > 1:
            raise BadInput("only one of json_schema, grammar and regex can be given", param="json_schema")
        slot = _number(body, "id_slot", -1, -1, 1 << 16)
        said = body.get("prompt")
        return cls(
            prompt=_prompt(said) if prompt is None else prompt,
            images=_images(said) if prompt is None else images,
            sampling=_sampling(body),
            num_predict=_number(body, "n_predict", -1, -1, _MAX_PREDICT),
            stop=_texts(body, "stop", _MAX_STOPS),
            preserved=_texts(body, "preserved_tokens", _MAX_PRESERVED),
            is_stream=_of(body, "stream", bool, False),
            wants_progress=_of(body, "return_progress", bool, False),
            slot=slot,
            num_choices=_number(body, "n_cmpl", 1, 1, _MAX_CHOICES),
            further_slots=_slots(body.get("id_slots")),
            reuse=_of(body, "cache_prompt", bool, True) and slot >= 0,
            json_schema=schema,
            grammar=grammar,
            regex=regex,
        )


def _prompt(said: object) -> tuple[str | int, ...]:
    if isinstance(said, str):
        return (said,)
    if isinstance(said, dict):
        said = said.get("prompt_string")
        if isinstance(said, str):
            return (said,)
    if not isinstance(said, list) or not all(isinstance(each, str) or _is_int(each) for each in said):
        raise BadInput("prompt: a text, or a list of texts and token ids, is needed", param="prompt")
    return tuple(said)


def _images(said: object) -> tuple[str, ...]:
    data = said.get("multimodal_data") if isinstance(said, dict) else []
    if not isinstance(data, list) or not all(isinstance(each, str) for each in data):
        raise BadInput("multimodal_data: a list of images in base64 is needed", param="prompt")
    return tuple(data)


def _slots(said: object) -> tuple[int, ...]:
    if said is None:
        return ()
    if not isinstance(said, list) or not all(_is_int(each) and 0 <= each < _MAX_CHOICES for each in said):
        raise BadInput("id_slots: a list of slots is needed", param="id_slots")
    return tuple(said)


def _sampling(body: Mapping[str, Any]) -> SamplingParams:
    given = {name: body[name] for name in _SAMPLING if body.get(name) is not None}
    num_probs = _number(body, "n_probs", 0, 0, _MAX_PROBS)
    return SamplingParams(**given, logit_bias=_biases(body.get("logit_bias")), num_probs=num_probs or None)


def _biases(said: object) -> tuple[tuple[int, float], ...]:
    if said is None:
        return ()
    if not isinstance(said, list) or len(said) > _MAX_BIASES or not all(map(_is_bias, said)):
        raise BadInput(
            f"logit_bias: a list of at most {_MAX_BIASES} pairs of a token id and a number is needed",
            param="logit_bias",
        )
    return tuple((token, -math.inf if bias is False else float(bias)) for token, bias in said)


def _is_bias(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    token, bias = pair
    return _is_int(token) and (bias is False or _is_int(bias) or isinstance(bias, float))


def _texts(body: Mapping[str, Any], name: str, limit: int) -> tuple[str, ...]:
    said = body.get(name)
    texts = [said] if isinstance(said, str) else said if said is not None else []
    if (
        not isinstance(texts, list)
        or len(texts) > limit
        or not all(isinstance(each, str) and len(each) <= _MAX_STOP_CHARS for each in texts)
    ):
        raise BadInput(
            f"{name}: at most {limit} texts of at most {_MAX_STOP_CHARS} characters are allowed", param=name
        )
    return tuple(each for each in texts if each)


def _number(body: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    said = body.get(name)
    if said is None:
        return default
    if not _is_int(said) or not low <= said <= high:
        raise BadInput(f"{name}: a whole number from {low} to {high} is needed", param=name)
    return int(said)


def _of(body: Mapping[str, Any], name: str, kind: type[_Value], default: _Value) -> _Value:
    said = body.get(name)
    if said is None:
        return default
    if not isinstance(said, kind):
        raise BadInput(f"{name} must be of type {'boolean' if kind is bool else 'string'}", param=name)
    return said


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
