"""GGUF files made of a few hundred bytes: good ones, and ones wrong in one chosen place.

`tiny_model()` is a whole model. Every part of it can be changed, left out (None), or given as `Raw` bytes.
"""

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from hutch.formats.ggml_types import TENSOR_TYPES

NUMBER_TYPES = {"B": 0, "b": 1, "H": 2, "h": 3, "I": 4, "i": 5, "f": 6, "Q": 10, "q": 11, "d": 12}
BOOL, STRING, ARRAY = 7, 8, 9
NORMAL, CONTROL, BYTE = 1, 3, 6  # token types


@dataclass(frozen=True, slots=True)
class Raw:
    """A metadata value as it stands in the file: its type's id and its bytes."""

    type_id: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor to write. `offset` None: the next free place. `num_dimensions` None: as `shape` has."""

    name: str | bytes
    shape: tuple[int, ...]
    type_id: int = 0
    offset: int | None = None
    num_dimensions: int | None = None

    @property
    def size_bytes(self) -> int:
        """The data's bytes; 0 for a type that is not known."""
        kind = TENSOR_TYPES.get(self.type_id)
        return prod(self.shape) // kind.block_size * kind.block_bytes if kind else 0


def number(code: str, value: float) -> Raw:
    """Make a metadata value of just this struct code."""
    return Raw(NUMBER_TYPES[code], struct.pack("<" + code, value))


def string(text: str | bytes) -> bytes:
    """Make a string with its length before it."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def array_of(item_type: int, count: int, payload: bytes = b"") -> Raw:
    """Make an array value that claims `count` items."""
    return Raw(ARRAY, struct.pack("<IQ", item_type, count) + payload)


def _raw(value: Any) -> Raw:
    match value:
        case Raw():
            raw = value
        case bool():
            raw = Raw(BOOL, bytes([value]))
        case int():
            raw = number("q" if value < 0 else "I" if value < 1 << 32 else "Q", value)
        case float():
            raw = number("d", value)
        case str() | bytes():
            raw = Raw(STRING, string(value))
        case array(typecode=code):
            raw = array_of(NUMBER_TYPES[code], len(value), struct.pack(f"<{len(value)}{code}", *value))
        case (bool(), *_):
            raw = array_of(BOOL, len(value), bytes(value))
        case _:
            raw = array_of(STRING, len(value), b"".join(map(string, value)))
    return raw


def build(
    metadata: Mapping[str, Any] | Iterable[tuple[str | bytes, Any]],
    tensors: Sequence[TensorSpec],
    *,
    version: int = 3,
    num_keys: int | None = None,
    num_tensors: int | None = None,
    alignment: int = 32,
    extra_bytes: int = 0,
) -> bytes:
    """Write a GGUF file. The counts in its header are the true ones unless given."""
    pairs = list(metadata.items() if isinstance(metadata, Mapping) else metadata)
    counts = (
        len(tensors) if num_tensors is None else num_tensors,
        len(pairs) if num_keys is None else num_keys,
    )
    parts = [b"GGUF", struct.pack("<IQQ", version, *counts)]
    for key, value in pairs:
        raw = _raw(value)
        parts += [string(key), struct.pack("<I", raw.type_id), raw.payload]
    end = 0
    for tensor in tensors:
        offset = end if tensor.offset is None else tensor.offset
        if tensor.offset is None:
            end += -(-tensor.size_bytes // alignment) * alignment
        num_dimensions = len(tensor.shape) if tensor.num_dimensions is None else tensor.num_dimensions
        shape = struct.pack(f"<I{len(tensor.shape)}Q", num_dimensions, *tensor.shape)
        parts += [string(tensor.name), shape, struct.pack("<IQ", tensor.type_id, offset)]
    header = b"".join(parts)
    return header + bytes(-len(header) % alignment + end + extra_bytes)


TOKENS = ("<s>", "</s>", "<0x0A>", "a", "b", "ab")
EMBEDDING = TensorSpec("token_embd.weight", (8, len(TOKENS)))
NORM = TensorSpec("output_norm.weight", (8,))


def tiny_metadata() -> dict[str, Any]:
    """The metadata of a llama of two layers and six tokens."""
    return {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.file_type": 0,
        "llama.block_count": 2,
        "llama.context_length": 64,
        "llama.embedding_length": 8,
        "llama.feed_forward_length": array("I", [16, 16]),
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.scores": array("f", [0.0] * len(TOKENS)),
        "tokenizer.ggml.token_type": array("i", [CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL]),
        "tokenizer.ggml.merges": ("a b",),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": "{{ messages[0].content }}",
    }


def tiny_model(
    changes: Mapping[str, Any] | None = None, tensors: Sequence[TensorSpec] = (EMBEDDING, NORM), **header: Any
) -> bytes:
    """Write the tiny llama with some metadata changed, added or (None) left out. `header` goes to `build`."""
    metadata = tiny_metadata() | dict(changes or {})
    return build({key: value for key, value in metadata.items() if value is not None}, tensors, **header)
