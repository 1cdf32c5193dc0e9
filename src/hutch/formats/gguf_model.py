"""What a GGUF file's metadata must mean for llama.cpp to load it without harm.

Pure: takes what was read, raises, touches no file. Keys are those of "Standardized key-value pairs" in
ggml's docs/gguf.md. Absent keys are left to the engine, which names them itself.
"""

import re
from array import array
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats.gguf_source import shown

MAX_LAYERS = 512  # the size of llama.cpp's tables

_HINT = "The model was converted wrongly, or made to do harm. Get it from another source."
_ARCHITECTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_BYTE_TOKEN_TYPE = 6
_NO_TOKEN = (-1, (1 << 32) - 1)  # how converters write "there is no such token"

_NO_VOCABULARY = ("none", "no_vocab")  # what models of something else than text say
_TEXTS = (
    "general.type",
    "general.name",
    "tokenizer.chat_template",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
)
_GENERAL = {"general.file_type": (0, 1 << 16), "split.count": (0, 1 << 16), "split.no": (0, 1 << 16)}
_HYPERPARAMETERS = {
    "block_count": (1, MAX_LAYERS),
    "context_length": (1, (1 << 31) - 1),
    "embedding_length": (1, 1 << 24),
    "vocab_size": (1, 1 << 24),
    "pooling_type": (0, 255),
    "expert_count": (0, 1 << 16),
    "expert_used_count": (0, 1 << 16),
}
# One number, or one for each layer.
_PER_LAYER = (
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "feed_forward_length",
)
_MAX_PER_LAYER = 1 << 24


def check_model(metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check metadata against themselves and against the `shapes` of the tensors, by name.

    Raises FormatError that names the key, what was found and what is allowed.
    """
    for key in _TEXTS:
        if not isinstance(metadata.get(key, ""), str):
            raise FormatError(f"{key} is {shown(metadata[key])}; a string is needed", hint=_HINT)
    for key, bounds in _GENERAL.items():
        if key in metadata:
            _check_integer(key, metadata[key], *bounds)
    is_split = metadata.get("split.count", 0) > 1
    if not shapes and not is_split:
        raise FormatError(
            "the file has no tensors, only metadata", hint="Name a file that holds a model's weights."
        )
    if "general.architecture" in metadata or not (is_split and metadata.get("split.no", 0)):
        _check_hyperparameters(metadata)
    if "tokenizer.ggml.tokens" in metadata:
        _check_tokenizer(metadata, shapes.get("token_embd.weight"))


def _check_hyperparameters(metadata: Mapping[str, Any]) -> None:
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not _ARCHITECTURE.fullmatch(architecture):
        found = "is missing" if architecture is None else f"is {shown(architecture)}"
        raise FormatError(f"general.architecture {found}; a name like llama is needed", hint=_HINT)
    for name, bounds in _HYPERPARAMETERS.items():
        if (key := f"{architecture}.{name}") in metadata:
            _check_integer(key, metadata[key], *bounds)
    for name in _PER_LAYER:
        if (key := f"{architecture}.{name}") in metadata:
            _check_per_layer(key, metadata[key])


def check_has_tokenizer(metadata: Mapping[str, Any]) -> None:
    """Raise FormatError for a model without what turns text into tokens: llama.cpp would refuse it when it is loaded."""
    kind = metadata.get("tokenizer.ggml.model")
    if kind is None or (kind not in _NO_VOCABULARY and "tokenizer.ggml.tokens" not in metadata):
        key = "tokenizer.ggml.model" if kind is None else "tokenizer.ggml.tokens"
        raise FormatError(f"the file has no tokenizer: {key} is missing", hint=_HINT)


def _check_integer(key: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise FormatError(f"{key} is {shown(value)}; an integer from {low} to {high:,} is needed", hint=_HINT)


def _check_per_layer(key: str, value: object) -> None:
    if not isinstance(value, array):
        _check_integer(key, value, 0, _MAX_PER_LAYER)
        return
    if value.typecode in "fd" or not 1 <= len(value) <= MAX_LAYERS:
        found = f"{len(value):,} items of type {value.typecode!r}"
        raise FormatError(f"{key} has {found}; 1 to {MAX_LAYERS} integers are needed", hint=_HINT)
    for index in (value.index(min(value)), value.index(max(value))):
        _check_integer(f"{key}[{index}]", value[index], 0, _MAX_PER_LAYER)


def _check_tokenizer(metadata: Mapping[str, Any], embedding_shape: tuple[int, ...] | None) -> None:
    tokens = metadata["tokenizer.ggml.tokens"]
    _check_texts("tokenizer.ggml.tokens", tokens)
    if not tokens:
        raise FormatError("tokenizer.ggml.tokens is empty", hint=_HINT)
    if embedding_shape is not None and prod(embedding_shape[1:]) != len(tokens):
        found = f"tokenizer.ggml.tokens has {len(tokens):,} items"
        raise FormatError(f"{found}, but token_embd.weight has the shape {embedding_shape}", hint=_HINT)
    _check_unique(tokens)
    _check_token_arrays(metadata, tokens)
    for key, value in metadata.items():
        if key.endswith("_token_id") and value not in _NO_TOKEN:
            _check_integer(key, value, 0, len(tokens) - 1)


def _check_texts(key: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value[:1]):
        raise FormatError(f"{key} is {shown(value)}; an array of strings is needed", hint=_HINT)


def _check_unique(tokens: Sequence[str]) -> None:
    # llama.cpp aborts on two equal tokens; it renames empty ones. Tokens with U+FFFD may differ in the file.
    if len(set(tokens)) == len(tokens):
        return
    first: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token and "\ufffd" not in token and first.setdefault(token, index) != index:
            where = f"items {first[token]:,} and {index:,} are both {shown(token)}"
            raise FormatError(f"tokenizer.ggml.tokens: {where}", hint=_HINT)


def _check_token_arrays(metadata: Mapping[str, Any], tokens: Sequence[str]) -> None:
    # llama.cpp has read these as 32-bit numbers, one for each token, whatever type and length they had.
    for key, typecodes in (("tokenizer.ggml.scores", "f"), ("tokenizer.ggml.token_type", "iI")):
        value = metadata.get(key)
        if value is None:
            continue
        if not isinstance(value, array) or value.typecode not in typecodes:
            raise FormatError(f"{key} is {shown(value)}; an array of 32-bit numbers is needed", hint=_HINT)
        if len(value) != len(tokens):
            found = f"{key} has {len(value):,} items"
            raise FormatError(f"{found}, but tokenizer.ggml.tokens has {len(tokens):,}", hint=_HINT)
    for index, token_type in enumerate(metadata.get("tokenizer.ggml.token_type", ())):
        # llama.cpp has written out of bounds for <0x-1>.
        if token_type == _BYTE_TOKEN_TYPE and not _BYTE_TOKEN.fullmatch(tokens[index]):
            found = f"tokenizer.ggml.tokens[{index}] is {shown(tokens[index])}"
            raise FormatError(f"{found}; a byte token has the form <0x0A>", hint=_HINT)
    if "tokenizer.ggml.merges" in metadata:
        _check_merges(metadata["tokenizer.ggml.merges"])
    if "tokenizer.ggml.suppress_tokens" in metadata:
        _check_suppressed(metadata["tokenizer.ggml.suppress_tokens"], len(tokens))


def _check_merges(merges: Any) -> None:
    _check_texts("tokenizer.ggml.merges", merges)
    for index, merge in enumerate(merges):
        if " " not in merge[1:-1]:
            found = f"tokenizer.ggml.merges[{index}] is {shown(merge)}"
            raise FormatError(f"{found}; two tokens with a space between are needed", hint=_HINT)


def _check_suppressed(ids: Any, num_tokens: int) -> None:
    if not isinstance(ids, array) or ids.typecode in "fd":
        found = f"tokenizer.ggml.suppress_tokens is {shown(ids)}"
        raise FormatError(f"{found}; an array of integers is needed", hint=_HINT)
    if ids and not (min(ids) >= 0 and max(ids) < num_tokens):
        found = f"tokenizer.ggml.suppress_tokens has {min(ids):,} to {max(ids):,}"
        raise FormatError(f"{found}; 0 to {num_tokens - 1:,} is allowed", hint=_HINT)
