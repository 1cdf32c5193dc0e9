"""The files of a model in Hugging Face's layout: its configuration, its tokenizer and its tensors, checked.

Nothing here follows a name that a file gives: files are those that were handed in, by their names in the folder.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hutch.core.errors import BadInput, FormatError
from hutch.formats import ggml_numbers, safetensors
from hutch.formats.gguf_source import shown
from hutch.formats.gguf_writer import NewTensor
from hutch.formats.safetensors import StoredTensor
from hutch.store import layout

MAX_TOKENS = 1 << 20  # the largest vocabularies known have a quarter of that
_MAX_JSON_BYTES = 64 << 20
_CONVERTIBLE = ("F32", "F16", "BF16")
_HINT = "Give the whole folder as it was published: config.json, tokenizer.json and *.safetensors."


@dataclass(frozen=True, slots=True)
class Folder:
    """A model's files by their names in the folder, and the tensors of all of them by theirs."""

    files: Mapping[str, Path]
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    def json(self, name: str) -> dict[str, Any] | None:
        """A file's JSON object; None where the file is not there."""
        return _json(self.files[name], name) if name in self.files else None

    def data(self, name: str, limit_bytes: int = _MAX_JSON_BYTES) -> bytes:
        """A file's bytes. Raises FormatError beyond the limit."""
        return layout.read_bounded(self.files[name], limit_bytes)

    def text(self, name: str) -> str:
        """A file's text, of at most as many bytes as JSON may have."""
        return self.data(name).decode(errors="replace")

    def needed_json(self, name: str) -> dict[str, Any]:
        """A file's JSON object. Raises BadInput where it is not there."""
        document = self.json(name)
        if document is None:
            raise BadInput(f"the model's {name} is missing", hint=_HINT)
        return document

    def count(self, key: str, high: int, default: int | None = None) -> int:
        """A positive integer of the configuration. Raises FormatError."""
        value = self.config.get(key)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value <= high:
            raise FormatError(
                f"config.json: {key} is {shown(value)}; an integer from 1 to {high:,} is needed"
            )
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number of the configuration. Raises FormatError."""
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
            raise FormatError(f"config.json: {key} is {shown(value)}; a number above 0 is needed")
        return float(value)


def opened(files: Mapping[str, Path], config: str = "config.json") -> Folder:
    """The folder that these files make, with the configuration in the file of that name. Raises BadInput or FormatError."""
    if config not in files:
        raise BadInput(f"the model's {config} is missing", hint=_HINT)
    tensors: dict[str, StoredTensor] = {}
    for name in sorted(files):
        if name.endswith(".safetensors"):
            for tensor in safetensors.read(files[name], name).values():
                if tensors.setdefault(tensor.name, tensor) is not tensor:
                    raise FormatError(f"{name}: tensor {shown(tensor.name)} is in two files")
    folder = Folder(files, _json(files[config], config), tensors)
    index = folder.json("model.safetensors.index.json") or {}
    places = index.get("weight_map")
    missing = sorted(set(places) - set(tensors)) if isinstance(places, dict) else []
    if missing:
        raise BadInput(
            f"the model is incomplete: tensor {shown(missing[0])} is in none of its files", hint=_HINT
        )
    return folder


def new_tensor(
    stored: StoredTensor,
    name: str,
    shape: tuple[int, ...],
    *,
    keep_type: bool = True,
    heads: int = 0,
    offset: float = 0.0,
) -> NewTensor:
    """A tensor under its GGUF name, in the type that it has, or as F32.

    `shape` is what the configuration says, the row's length last. With `heads`, the rows of each head go from halves,
    as Hugging Face has them for rotary positions, to pairs, as llama.cpp has them. `offset` is added to what becomes F32.
    """
    what = f"tensor {shown(stored.name)}"
    if stored.dtype not in _CONVERTIBLE:
        allowed = f"only {', '.join(_CONVERTIBLE)} can be converted"
        raise FormatError(
            f"{what} is of type {stored.dtype}; {allowed}", hint="Get the model in BF16 or F16."
        )
    if stored.shape != shape:
        raise FormatError(f"{what} has the shape {list(stored.shape)}; config.json says {list(shape)}")
    keeps = keep_type and len(shape) > 1
    type_name = stored.dtype if keeps else "F32"

    def pieces() -> Iterator[bytes]:
        source = iter((_paired(stored, heads),)) if heads else stored.pieces()
        if type_name == stored.dtype and not offset:
            return source
        return (
            ggml_numbers.encode(type_name, ggml_numbers.decode(stored.dtype, piece) + np.float32(offset))
            for piece in source
        )

    return NewTensor(name, tuple(reversed(shape)), type_name, pieces)


def _paired(stored: StoredTensor, heads: int) -> bytes:
    # One matrix of attention at a time: of the largest models a few hundred MiB.
    data, rows = b"".join(stored.pieces()), stored.shape[0]
    row_bytes = len(data) // rows
    half = rows // heads // 2
    order = (
        head * 2 * half + part * half + row for head in range(heads) for row in range(half) for part in (0, 1)
    )
    return b"".join(data[row * row_bytes : (row + 1) * row_bytes] for row in order)


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads(layout.read_bounded(path, _MAX_JSON_BYTES))
    except (ValueError, RecursionError):
        raise FormatError(f"{name}: not valid JSON") from None
    if not isinstance(document, dict):
        raise FormatError(f"{name}: not a JSON object")
    return document
