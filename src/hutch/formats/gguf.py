"""A GGUF file: what it says of itself, checked before an engine may see it.

Follows "File Structure" of ggml's docs/gguf.md, and is stricter where llama.cpp would abort, or read past
what it was given. Only the header is read, never the weights. It is read and not mapped, because a map of
a file that another process truncates would kill this one.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats.fim import fim_tokens
from hutch.formats.ggml_types import FILE_TYPES, REMOVED_TENSOR_TYPES, TENSOR_TYPES
from hutch.formats.gguf_model import check_model
from hutch.formats.gguf_source import DAMAGED, INCOMPLETE, NUMBERS, STRUCTS, Source, shown

MAX_ARRAY_ITEMS = 64 << 20
MAX_KEYS = 10_000  # the most seen are below 200
MAX_TENSORS = 1 << 16  # the most seen are 50,000, each expert a tensor
MAX_KEY_BYTES = (1 << 16) - 1
MAX_NAME_BYTES = 64
MAX_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 24

_INT64_MAX = (1 << 63) - 1
_BOOL, _STRING, _ARRAY = 7, 8, 9
_RANK = 4  # a pooling_type

_NOT_A_MODEL = "Name a model file in GGUF format."
_CONVERT = "Convert the model again with a current llama.cpp."


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's place. `shape` as ggml has it, the row's length first; `offset` from where the data start."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class GGUF:
    """A GGUF file's header. Arrays in `metadata` are array.array for numbers, tuples for all else.

    A string that is not UTF-8 has U+FFFD for each wrong byte: vocabularies may hold such tokens.
    `spans` tells where each key with its value begins and ends in the file, `data_start` where the tensors begin.
    """

    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    size_bytes: int
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    data_start: int = 0
    fim: tuple[str, str, str] | None = None  # the tokens before prefix, suffix and middle
    can_embed: bool = True  # of a model that was not made for it, the mean over the tokens is taken
    sees: bool = False  # it takes a projector to
    kv_element_bytes: int | None = None  # whoever loads the file chooses

    @property
    def architecture(self) -> str:
        """The model's family, such as llama. Empty in the later files of a split model."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def file_type(self) -> str:
        """The mixture of tensor types, such as Q4_K_M; where none is named, the type of most parameters."""
        if (named := FILE_TYPES.get(self.metadata.get("general.file_type", -1))) is not None:
            return named
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            counts[tensor.type_name] += prod(tensor.shape)
        return max(counts, key=counts.__getitem__, default="unknown")

    @property
    def parameter_count(self) -> int:
        """The numbers in all tensors of this file."""
        return sum(prod(tensor.shape) for tensor in self.tensors)

    @property
    def parameter_size(self) -> str:
        """The parameter count as Ollama prints it: 134.52M, 1.2B, 8B."""
        return shown_count(self.parameter_count)

    @property
    def context_length(self) -> int | None:
        """The longest context that the model was trained for, in tokens."""
        return _integer(self, "context_length")

    @property
    def block_count(self) -> int | None:
        """The number of layers."""
        return _integer(self, "block_count")

    @property
    def embedding_length(self) -> int | None:
        """The width of the model: the numbers that stand for one token between layers."""
        return _integer(self, "embedding_length")

    @property
    def chat_template(self) -> str:
        """The Jinja template for conversations that is in the file; empty where there is none."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else ""

    @property
    def is_embedding(self) -> bool:
        """Whether the model turns texts into vectors, and does not write."""
        name = self.architecture
        pools = f"{name}.pooling_type" in self.metadata
        return pools or "bert" in name or name in {"t5encoder", "gemma-embedding"}

    @property
    def is_reranker(self) -> bool:
        """Whether the model scores how well a document answers a query. It then is an encoder too."""
        return self.metadata.get(f"{self.architecture}.pooling_type") == _RANK

    @property
    def is_encoder(self) -> bool:
        """Whether it sees a text as a whole and keeps nothing of it: it has no key-value cache."""
        return self.is_embedding and self.metadata.get(f"{self.architecture}.attention.causal") is False

    def kv_bytes_per_token(self, bytes_per_element: int = 2) -> int:
        """Bytes of key-value cache for each token of context; 0 where the file does not tell.

        An upper bound: layers with a sliding window, or with no attention of their own, take less.
        """
        return sum(heads * (key + value) for heads, key, value in _kv_heads(self)) * bytes_per_element


def shown_count(count: int) -> str:
    """A count of parameters as Ollama prints it."""
    for unit, letter, decimals in ((10**9, "B", 1), (10**6, "M", 2)):
        if count >= unit:
            return f"{count / unit:.{decimals if count % unit else 0}f}{letter}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def read(path: Path) -> GGUF:
    """Read and check the header of the GGUF file at `path`.

    Raises FormatError for anything but a regular file that holds a whole, consistent model.
    """
    try:
        with open_regular(path) as file:
            source = Source(file, os.fstat(file.fileno()).st_size)
            return _read_file(source)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise FormatError(
            f"the file cannot be read: {why}", hint="Check that it is there, and whose it is."
        ) from error


def split_count(facts: GGUF) -> int:
    """Of how many files the model consists. A merged file says 0, and is one."""
    return int(facts.metadata.get("split.count", 1)) or 1


def has_kv_in_blocks_of(facts: GGUF, num: int) -> bool:
    """Whether each key and each value is so many numbers, or a multiple: types of few bits store them in blocks."""
    lengths = {length for _, *pair in _kv_heads(facts) for length in pair}
    return bool(lengths) and all(length % num == 0 for length in lengths)


def _kv_heads(facts: GGUF) -> Iterable[tuple[int, int, int]]:
    """Of each layer, the key-value heads, and the numbers in a key and in a value; empty where the file does not tell."""
    layers = facts.block_count or 0
    prefix = f"{facts.architecture}.attention."
    heads, kv_heads, keys, values = (
        _per_layer(facts.metadata.get(prefix + name), layers)
        for name in ("head_count", "head_count_kv", "key_length", "value_length")
    )
    head_length = (facts.embedding_length or 0) // (max(heads, default=0) or 1) if heads else 0
    lengths = [head_length] * layers
    return zip(kv_heads or heads, keys or lengths, values or lengths, strict=False)


def _integer(facts: GGUF, name: str) -> int | None:
    value = facts.metadata.get(f"{facts.architecture}.{name}")
    return value if isinstance(value, int) else None


def _per_layer(value: int | Sequence[int] | None, layers: int) -> Sequence[int]:
    return [value] * layers if isinstance(value, int) else value or ()


def open_regular(path: Path) -> FileIO:
    """Open a file to read. Raises FormatError for a folder, a device or a pipe, OSError where it cannot be opened."""
    # Looked at before it is opened, since opening alone sets some devices off; and again once it is open,
    # since it may have been exchanged. O_NONBLOCK: a FIFO must not keep us waiting for its writer.
    _check_regular(path.stat().st_mode)
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    try:
        _check_regular(os.fstat(descriptor).st_mode)
    except FormatError:
        os.close(descriptor)
        raise
    return FileIO(descriptor)


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(mode), "a device")
        raise FormatError(f"not a regular file, but {found}", hint=_NOT_A_MODEL)


def _read_file(source: Source) -> GGUF:
    # gguf_file_t, in the order of the specification.
    version = _read_magic_and_version(source)
    num_tensors = source.count("tensor_count", MAX_TENSORS, item_bytes=33)
    num_keys = source.count("metadata_kv_count", MAX_KEYS, item_bytes=14)
    metadata, spans = _read_metadata(source, num_keys)
    alignment = _alignment(metadata)
    tensors = tuple(_read_tensor(source, index, alignment) for index in range(num_tensors))
    data_start = -(-source.at // alignment) * alignment
    _check_places(tensors, source.size_bytes - data_start)
    check_model(metadata, {tensor.name: tensor.shape for tensor in tensors})
    return GGUF(version, metadata, tensors, source.size_bytes, spans, data_start, fim_tokens(metadata))


def _read_magic_and_version(source: Source) -> int:
    # gguf_header_t.magic, gguf_header_t.version
    if source.size_bytes == 0:
        raise FormatError("the file is empty", hint=INCOMPLETE)
    magic = source.raw(min(4, source.size_bytes), "the magic number")
    if magic != b"GGUF":
        raise FormatError(
            f"not a GGUF file: it starts with the bytes {magic.hex(' ')}, not with GGUF", hint=_NOT_A_MODEL
        )
    version: int = source.number("I", "the version")
    # The specification leaves byte order unmarked; a small number read the wrong way round has no low bits.
    if version and not version & 0xFFFF:
        raise FormatError("a big-endian GGUF file; only little-endian ones are read", hint=_CONVERT)
    if version not in (2, 3):
        raise FormatError(f"GGUF version {version}; versions 2 and 3 are read", hint=_CONVERT)
    return version


def _read_metadata(source: Source, count: int) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
    # gguf_metadata_kv_t
    metadata: dict[str, Any] = {}
    spans: dict[str, tuple[int, int]] = {}
    for index in range(count):
        start = source.at
        key = source.name(f"metadata key {index}", MAX_KEY_BYTES)
        if key in metadata:
            raise FormatError(f"metadata key {shown(key)} is there twice", hint=DAMAGED)
        metadata[key] = _read_value(source, f"metadata {shown(key)}")
        spans[key] = (start, source.at)
    return metadata, spans


def _read_value(source: Source, what: str) -> Any:
    # gguf_metadata_value_t
    value_type = source.number("I", f"the type of {what}")
    if (code := NUMBERS.get(value_type)) is not None:
        return source.number(code, what)
    if value_type == _STRING:
        return source.text(what)
    if value_type == _BOOL:
        return source.bools(1, what)[0]
    if value_type == _ARRAY:
        return _read_array(source, what)
    raise FormatError(f"{what} is of type {value_type}; only 0 to 12 are known", hint=DAMAGED)


def _read_array(source: Source, what: str) -> Any:
    item_type = source.number("I", f"the item type of {what}")
    item_bytes = {_BOOL: 1, _STRING: 8}.get(item_type)
    code = NUMBERS.get(item_type)
    if code is not None:
        item_bytes = STRUCTS[code].size
    if item_type == _ARRAY:
        raise FormatError(f"{what} is an array of arrays, which no engine reads", hint=_CONVERT)
    if item_bytes is None:
        raise FormatError(f"{what} has items of type {item_type}; only 0 to 12 are known", hint=DAMAGED)
    count = source.count(f"the length of {what}", MAX_ARRAY_ITEMS, item_bytes)
    if code is not None:
        return source.numbers(code, count, what)
    return source.texts(count, what) if item_type == _STRING else source.bools(count, what)


def _alignment(metadata: Mapping[str, Any]) -> int:
    # "it must be a multiple of 8"; llama.cpp wants a power of two.
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(value) is not int or not 8 <= value <= MAX_ALIGNMENT or value & (value - 1):
        allowed = f"only a power of two from 8 to {MAX_ALIGNMENT:,} is allowed"
        raise FormatError(f"general.alignment is {shown(value)}; {allowed}", hint=DAMAGED)
    return value


def _read_tensor(source: Source, index: int, alignment: int) -> Tensor:
    # gguf_tensor_info_t
    name = source.name(f"the name of tensor {index}", MAX_NAME_BYTES)
    what = f"tensor {shown(name)}"
    num_dimensions = source.number("I", what)
    if not 1 <= num_dimensions <= MAX_DIMENSIONS:
        raise FormatError(f"{what} has {num_dimensions:,} dimensions; 1 to 4 are allowed", hint=DAMAGED)
    shape = tuple(source.number("Q", what) for _ in range(num_dimensions))
    num_elements = prod(shape)
    if not 0 < num_elements <= _INT64_MAX:
        raise FormatError(f"{what} of shape {shape} is empty or too large to count", hint=DAMAGED)
    type_id = source.number("I", what)
    if (kind := TENSOR_TYPES.get(type_id)) is None:
        removed = f" ({REMOVED_TENSOR_TYPES[type_id]}, removed)" if type_id in REMOVED_TENSOR_TYPES else ""
        raise FormatError(f"{what} is of unknown type {type_id}{removed}", hint=_CONVERT)
    if shape[0] % kind.block_size:
        allowed = f"{kind.name} needs a multiple of {kind.block_size}"
        raise FormatError(f"{what} has rows of {shape[0]:,} numbers; {allowed}", hint=DAMAGED)
    offset = source.number("Q", what)
    if offset % alignment:
        allowed = f"a multiple of {alignment} is needed"
        raise FormatError(f"{what} has offset {offset:,}; {allowed}", hint=DAMAGED)
    return Tensor(name, shape, kind.name, offset, num_elements // kind.block_size * kind.block_bytes)


def _check_places(tensors: Sequence[Tensor], data_bytes: int) -> None:
    names: set[str] = set()
    before: Tensor | None = None
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        what = f"tensor {shown(tensor.name)}"
        if tensor.name in names:
            raise FormatError(f"{what} is there twice", hint=DAMAGED)
        names.add(tensor.name)
        end = tensor.offset + tensor.size_bytes
        if end > data_bytes:
            place = f"{what} takes bytes {tensor.offset:,} to {end:,} of the tensor data"
            raise FormatError(f"{place}, but the file has {max(0, data_bytes):,} of them", hint=INCOMPLETE)
        if before is not None and tensor.offset < before.offset + before.size_bytes:
            raise FormatError(f"{what} overlaps tensor {shown(before.name)}", hint=DAMAGED)
        before = tensor
