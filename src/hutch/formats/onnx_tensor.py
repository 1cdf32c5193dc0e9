"""The tensors of an ONNX file: what they are, and where their numbers lie. The numbers themselves are never read."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath
from types import MappingProxyType

from hutch.core.errors import FormatError
from hutch.formats import folder_names
from hutch.formats.gguf_source import DAMAGED, INCOMPLETE, shown
from hutch.formats.protobuf import Message, Span, Wire

MAX_DIMENSIONS = 16
_INT64_MAX = (1 << 63) - 1
_MAX_ENTRIES = 16

# TensorProto.DataType: a name, and the bits of one number.
TYPES: Mapping[int, tuple[str, int]] = MappingProxyType(
    {
        1: ("float32", 32),
        2: ("uint8", 8),
        3: ("int8", 8),
        4: ("uint16", 16),
        5: ("int16", 16),
        6: ("int32", 32),
        7: ("int64", 64),
        8: ("string", 0),
        9: ("bool", 8),
        10: ("float16", 16),
        11: ("float64", 64),
        12: ("uint32", 32),
        13: ("uint64", 64),
        14: ("complex64", 64),
        15: ("complex128", 128),
        16: ("bfloat16", 16),
        17: ("float8e4m3fn", 8),
        18: ("float8e4m3fnuz", 8),
        19: ("float8e5m2", 8),
        20: ("float8e5m2fnuz", 8),
        21: ("uint4", 4),
        22: ("int4", 4),
        23: ("float4e2m1", 4),
        24: ("float8e8m0", 8),
        25: ("uint2", 2),
        26: ("int2", 2),
    }
)
_STRING = 8
_FIELDS = frozenset((1, 2, 8, 9, 13, 14))
_IN_ANOTHER_FILE = 1


@dataclass(frozen=True, slots=True)
class External:
    """Where a tensor lies in another file. `location` is relative to the ONNX file's folder."""

    location: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant of the graph. `external` is None where its numbers are in the ONNX file itself."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    external: External | None


def read(wire: Wire, span: Span) -> Tensor:
    """Read a TensorProto. Raises FormatError."""
    said = Message(wire, span, "a tensor", _FIELDS)
    name, type_id, shape = said.text(8), said.number(2), said.numbers(1)
    what = f"tensor {shown(name)}"
    if type_id not in TYPES:
        raise FormatError(f"{what} is of unknown type {type_id}", hint=DAMAGED)
    if len(shape) > MAX_DIMENSIONS or any(size > _INT64_MAX for size in shape) or prod(shape) > _INT64_MAX:
        raise FormatError(f"{what} has an impossible shape", hint=DAMAGED)
    type_name, bits = TYPES[type_id]
    size_bytes = (prod(shape) * bits + 7) // 8
    entries = _entries(wire, what, said.spans(13))
    if said.number(14) == _IN_ANOTHER_FILE:
        if type_id == _STRING:
            raise FormatError(f"{what}: texts cannot lie in another file", hint=DAMAGED)
        return Tensor(name, tuple(shape), type_name, _external(what, entries, size_bytes))
    if entries:
        raise FormatError(f"{what} names another file, and does not say that it is there", hint=DAMAGED)
    inside = said.span(9)
    if inside is not None and type_id != _STRING and inside.size_bytes != size_bytes:
        found = f"{what} of shape {shape} has {inside.size_bytes:,} bytes"
        raise FormatError(f"{found}; {size_bytes:,} are needed", hint=DAMAGED)
    return Tensor(name, tuple(shape), type_name, None)


def check_places(tensors: Iterable[Tensor], sizes: Mapping[str, int]) -> None:
    """Raise FormatError where a tensor in another file is not where it can be. `sizes`: the files' bytes, by location."""
    by_file: dict[str, list[tuple[int, int, str]]] = {}
    for tensor in tensors:
        if (place := tensor.external) is None:
            continue
        what, file = f"tensor {shown(tensor.name)}", shown(place.location)
        if place.location not in sizes:
            hint = "Give the whole folder as it was published."
            raise FormatError(f"{what} is in {file}, which is not there", hint=hint)
        end = place.offset + place.size_bytes
        if end > sizes[place.location]:
            found = f"{what} takes bytes {place.offset:,} to {end:,} of {file}"
            raise FormatError(f"{found}, which has {sizes[place.location]:,}", hint=INCOMPLETE)
        if place.size_bytes:
            by_file.setdefault(place.location, []).append((place.offset, end, tensor.name))
    for location, places in by_file.items():
        for before, after in itertools.pairwise(sorted(places)):
            if after[0] < before[1] and after[:2] != before[:2]:  # one tensor under two names is fine
                found = f"tensor {shown(after[2])} overlaps tensor {shown(before[2])}"
                raise FormatError(f"{found} in {shown(location)}", hint=DAMAGED)


def _entries(wire: Wire, what: str, spans: list[Span]) -> dict[str, str]:
    entries: dict[str, str] = {}
    for span in spans:
        said = Message(wire, span, "external data", frozenset((1, 2)))
        key = said.text(1)
        if key in entries or len(entries) > _MAX_ENTRIES:
            raise FormatError(f"{what}: {shown(key)} is said twice", hint=DAMAGED)
        entries[key] = said.text(2)
    return entries


def _external(what: str, entries: Mapping[str, str], size_bytes: int) -> External:
    numbers = {}
    for key in ("offset", "length"):
        text = entries.get(key, "0" if key == "offset" else str(size_bytes))
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise FormatError(f"{what}: its {key} is {shown(text)}; a number is needed", hint=DAMAGED)
        numbers[key] = int(text)
    if numbers["length"] != size_bytes:
        raise FormatError(
            f"{what} takes {numbers['length']:,} bytes of another file; its shape takes {size_bytes:,}",
            hint=DAMAGED,
        )
    location = entries.get("location", "")
    folder_names.check(location, what)
    return External(PurePosixPath(location).as_posix(), numbers["offset"], size_bytes)
