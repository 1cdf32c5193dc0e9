"""GGUF files that stand beside weights, small and random: LoRA adapters, and a projector for images."""

import random
import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from tests.gguf_files import TensorSpec, build, number

WIDTH = 576  # of smollm2:135m
_EYES, _PATCH, _SIDE = 32, 14, 28
_LAYER = ("attn_q", "attn_k", "attn_v", "attn_out", "ln1", "ln2", "ffn_up", "ffn_down")


def _filled(metadata: Mapping[str, Any], tensors: Sequence[TensorSpec], spread: float) -> bytes:
    """A GGUF file of F32 tensors with the same random numbers each time."""
    empty = build(metadata, tensors)
    size_bytes = sum(-(-tensor.size_bytes // 32) * 32 for tensor in tensors)
    dice = random.Random(1)
    numbers = [dice.gauss(0, spread) for _ in range(size_bytes // 4)]
    return empty[: len(empty) - size_bytes] + struct.pack(f"<{len(numbers)}f", *numbers)


def lora(
    name: str = "blk.{}.attn_output.weight", *, width: int = WIDTH, layers: int = 30, **changes: Any
) -> bytes:
    """An adapter of rank 2 for one square matrix of each layer. `a__b` changes the key `a.b`."""
    metadata = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": number("f", 2.0),
    } | {key.replace("__", "."): value for key, value in changes.items()}
    tensors = []
    for layer in range(layers):
        tensors.append(TensorSpec(f"{name.format(layer)}.lora_a", (width, 2)))
        tensors.append(TensorSpec(f"{name.format(layer)}.lora_b", (2, width)))
    return _filled(metadata, tensors, 0.2)


def projector(width: int = WIDTH) -> bytes:
    """The eyes of a LLaVA: four patches, two layers, for a model of this width."""
    metadata = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": _SIDE,
        "clip.vision.patch_size": _PATCH,
        "clip.vision.embedding_length": _EYES,
        "clip.vision.feed_forward_length": 2 * _EYES,
        "clip.vision.block_count": 2,
        "clip.vision.projection_dim": _EYES,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": number("f", 1e-5),
        "clip.vision.image_mean": array("f", (0.5, 0.5, 0.5)),
        "clip.vision.image_std": array("f", (0.5, 0.5, 0.5)),
    }
    tensors = [
        TensorSpec("v.class_embd", (_EYES,)),
        TensorSpec("v.patch_embd.weight", (_PATCH, _PATCH, 3, _EYES)),
        TensorSpec("v.position_embd.weight", (_EYES, (_SIDE // _PATCH) ** 2 + 1)),
        *_pair("v.pre_ln", (_EYES,)),
        *_pair("mm.0", (_EYES, width)),
        *_pair("mm.2", (width, width)),
    ]
    for layer in range(2):
        for part in _LAYER:
            rows = {"ffn_up": (_EYES, 2 * _EYES), "ffn_down": (2 * _EYES, _EYES)}.get(part, (_EYES, _EYES))
            tensors += _pair(f"v.blk.{layer}.{part}", rows[:1] if part.startswith("ln") else rows)
    return _filled(metadata, tensors, 0.3)


def _pair(name: str, shape: tuple[int, ...]) -> tuple[TensorSpec, TensorSpec]:
    return TensorSpec(f"{name}.weight", shape), TensorSpec(f"{name}.bias", shape[-1:])
