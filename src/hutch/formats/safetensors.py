"""A safetensors file: what it says of itself, checked before a byte of its tensors is believed.

The header is JSON after its length in eight bytes; it is read whole, the tensors are read a piece at a time.
"""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

from hutch.core.errors import FormatError
from hutch.formats.gguf import open_regular
from hutch.formats.gguf_source import DAMAGED, INCOMPLETE, shown

MAX_HEADER_BYTES = 64 << 20  # the safetensors library itself refuses more than 100 MB
MAX_TENSORS = 1 << 16
MAX_DIMENSIONS = 8
_READ_BYTES = 4 << 20
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file. `shape` as PyTorch has it, the row's length last; `start` counts from the file's begin."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    size_bytes: int

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, some whole numbers at a time. Raises FormatError where the file has shrunk."""
        with open_regular(self.path) as file:
            file.seek(self.start)
            left = self.size_bytes
            while left:
                piece = _exactly(file.read(min(left, _READ_BYTES)), min(left, _READ_BYTES))
                left -= len(piece)
                yield piece


def read(path: Path, label: str) -> dict[str, StoredTensor]:
    """The tensors of the file at `path`, by name. `label` is what errors call it. Raises FormatError."""
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        head = file.read(8)
        if len(head) < 8:
            raise FormatError(f"{label}: not a safetensors file: it has {size_bytes} bytes", hint=INCOMPLETE)
        (length,) = struct.unpack("<Q", head)
        if not 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8):
            raise FormatError(
                f"{label}: the header claims {length:,} bytes of a file of {size_bytes:,}; "
                f"at most {MAX_HEADER_BYTES:,} are allowed",
                hint=DAMAGED,
            )
        document = _document(_exactly(file.read(length), length), label)
    start = 8 + length
    found = {
        name: _tensor(path, label, name, value, (start, size_bytes))
        for name, value in document.items()
        if name != "__metadata__"
    }
    if not 0 < len(found) <= MAX_TENSORS:
        raise FormatError(f"{label}: it has {len(found):,} tensors; 1 to {MAX_TENSORS:,} are allowed")
    _check_places(found, label)
    return found


def _document(data: bytes, label: str) -> dict[str, Any]:
    try:
        document = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as problem:
        raise FormatError(f"{label}: the header is no JSON: {shown(str(problem))}", hint=DAMAGED) from None
    if not isinstance(document, dict):
        raise FormatError(f"{label}: the header is no JSON object", hint=DAMAGED)
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name is there twice")
    return document


def _tensor(path: Path, label: str, name: str, value: Any, bounds: tuple[int, int]) -> StoredTensor:
    what = f"{label}: tensor {shown(name)}"
    fields = value if isinstance(value, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise FormatError(f"{what} is of unknown type {shown(dtype)}", hint=DAMAGED)
    if not _are_counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise FormatError(f"{what} has the shape {shown(shape)}; counts are needed", hint=DAMAGED)
    if not _are_counts(offsets) or len(offsets) != 2:
        raise FormatError(f"{what} has the offsets {shown(offsets)}; two counts are needed", hint=DAMAGED)
    begin, end = offsets
    start, size_bytes = bounds
    if not begin <= end <= size_bytes - start:
        found = f"{what} takes bytes {begin:,} to {end:,} of the data"
        raise FormatError(f"{found}, but the file has {size_bytes - start:,} of them", hint=INCOMPLETE)
    if prod(shape) * ITEM_BYTES[dtype] != end - begin:
        raise FormatError(f"{what} of shape {shape} and type {dtype} does not fill its bytes", hint=DAMAGED)
    return StoredTensor(path, name, tuple(shape), dtype, start + begin, end - begin)


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 62 for each in value)


def _check_places(found: dict[str, StoredTensor], label: str) -> None:
    end = 0
    for tensor in sorted(found.values(), key=lambda tensor: (tensor.start, tensor.size_bytes)):
        if tensor.start < end:
            raise FormatError(f"{label}: tensor {shown(tensor.name)} overlaps another", hint=DAMAGED)
        end = tensor.start + tensor.size_bytes


def _exactly(data: bytes, size_bytes: int) -> bytes:
    if len(data) != size_bytes:
        raise FormatError("the file shrank while it was read", hint="Try again.")
    return data
