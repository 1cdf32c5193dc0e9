"""GGUF files written: metadata, then tensors piece by piece, so that no file is ever whole in memory.

Pure: yields bytes, opens nothing. Follows "File Structure" of ggml's docs/gguf.md, version 3, little-endian.
"""

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from hutch.formats.ggml_types import FILE_TYPES, TENSOR_TYPES
from hutch.formats.gguf_source import NUMBERS

ALIGNMENT = 32
TYPE_IDS = {kind.name: type_id for type_id, kind in TENSOR_TYPES.items()}
FILE_TYPE_IDS = {name: type_id for type_id, name in FILE_TYPES.items()}
_NUMBER_IDS = {code: type_id for type_id, code in NUMBERS.items()}
_BOOL, _STRING, _ARRAY = 7, 8, 9


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to write. `shape` has the row's length first; `pieces` gives its bytes in order, anew at each call."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    pieces: Callable[[], Iterable[bytes]]

    @property
    def size_bytes(self) -> int:
        """How many bytes `pieces` gives."""
        kind = TENSOR_TYPES[TYPE_IDS[self.type_name]]
        return prod(self.shape) // kind.block_size * kind.block_bytes


@dataclass(frozen=True, slots=True)
class NewGGUF:
    """A file to write. `entries` are keys, each with the bytes of itself and its value, see `entry`."""

    entries: Mapping[str, bytes]
    tensors: tuple[NewTensor, ...]
    alignment: int = ALIGNMENT

    @property
    def data_bytes(self) -> int:
        """What the tensors take, with the gaps between them."""
        return sum(self._padded(tensor.size_bytes) for tensor in self.tensors)

    def pieces(self) -> Iterator[bytes]:
        """The whole file, piece by piece."""
        header = self._header()
        yield header + bytes(-len(header) % self.alignment)
        for tensor in self.tensors:
            yield from tensor.pieces()
            yield bytes(self._padded(tensor.size_bytes) - tensor.size_bytes)

    def _header(self) -> bytes:
        parts = [
            b"GGUF",
            struct.pack("<IQQ", 3, len(self.tensors), len(self.entries)),
            *self.entries.values(),
        ]
        offset = 0
        for tensor in self.tensors:
            shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            parts += [_string(tensor.name), shape, struct.pack("<IQ", TYPE_IDS[tensor.type_name], offset)]
            offset += self._padded(tensor.size_bytes)
        return b"".join(parts)

    def _padded(self, size_bytes: int) -> int:
        return -(-size_bytes // self.alignment) * self.alignment


def entries(metadata: Mapping[str, Any]) -> dict[str, bytes]:
    """Every key with its value."""
    return {key: entry(key, value) for key, value in metadata.items()}


def entry(key: str, value: "bool | float | str | array[Any] | Sequence[str]") -> bytes:
    """A key with its value: an integer as 32 unsigned bits, a float as 32; arrays of numbers say their type."""
    match value:
        case bool():
            typed = struct.pack("<I?", _BOOL, value)
        case int():
            typed = struct.pack("<II", _NUMBER_IDS["I"], value)
        case float():
            typed = struct.pack("<If", _NUMBER_IDS["f"], value)
        case str():
            typed = struct.pack("<I", _STRING) + _string(value)
        case array():
            items = struct.pack(f"<{len(value)}{value.typecode}", *value)
            typed = struct.pack("<IIQ", _ARRAY, _NUMBER_IDS[value.typecode], len(value)) + items
        case _:
            typed = struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_string, value))
    return _string(key) + typed


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
