"""Whether a LoRA adapter belongs to a model."""

from collections.abc import Mapping
from typing import Any

import pytest

from hutch.core.errors import FormatError
from hutch.formats import lora
from hutch.formats.gguf import GGUF, Tensor

Shapes = Mapping[str, tuple[int, ...]]
BASE: Shapes = {"blk.0.attn_q.weight": (8, 16), "token_embd.weight": (8, 100), "output_norm.weight": (8,)}
GOOD: dict[str, tuple[int, ...]] = {
    "blk.0.attn_q.weight.lora_a": (8, 2),
    "blk.0.attn_q.weight.lora_b": (2, 16),
}


def file(shapes: Shapes, **said: Any) -> GGUF:
    metadata = {"general.architecture": "llama"} | {k.replace("__", "."): v for k, v in said.items()}
    return GGUF(3, metadata, tuple(Tensor(n, s, "F32", 0, 0) for n, s in shapes.items()), 1)


def check(shapes: Shapes, **said: Any) -> None:
    lora.check(file(shapes, **{"general__type": "adapter", "adapter__type": "lora"} | said), file(BASE))


def test_an_adapter_of_this_model_passes() -> None:
    check(GOOD)
    check(GOOD | {"output_norm.weight": (8,)})  # which the engine passes over
    check({"token_embd.weight.lora_a": (2, 100), "token_embd.weight.lora_b": (2, 8)})


@pytest.mark.parametrize(
    ("shapes", "said", "complaint"),
    [
        (GOOD, {"general__type": "model"}, "only lora is known"),
        (GOOD, {"adapter__type": "control_vector"}, "'control_vector', and only lora"),
        (GOOD, {"adapter__type": None}, "only lora is known"),
        (GOOD, {"general__architecture": "qwen2"}, "for qwen2 models, and this is llama"),
        ({}, {}, "no tensors"),
        ({"blk.9.attn_q.weight.lora_a": (8, 2), "blk.9.attn_q.weight.lora_b": (2, 16)}, {}, "does not have"),
        ({"blk.0.attn_q.weight.lora_a": (8, 2)}, {}, "one half alone"),
        ({"blk.0.attn_q.weight": (8, 16)}, {}, "none of a LoRA"),
        (GOOD | {"blk.0.attn_q.weight.lora_a": (9, 2)}, {}, "another model's"),
        (GOOD | {"blk.0.attn_q.weight.lora_b": (2, 17)}, {}, "another model's"),
        (GOOD | {"blk.0.attn_q.weight.lora_b": (3, 16)}, {}, "another model's"),
        (GOOD | {"blk.0.attn_q.weight.lora_b": (2,)}, {}, "another model's"),
        ({"token_embd.weight.lora_a": (8, 2), "token_embd.weight.lora_b": (2, 100)}, {}, "another model's"),
        ({"output_norm.weight.lora_a": (8, 2), "output_norm.weight.lora_b": (2, 8)}, {}, "another model's"),
    ],
)
def test_any_other_is_told_apart(shapes: Shapes, said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        check(shapes, **said)
