"""SentencePiece's kind of BPE, with bytes to fall back on: of a tokenizer.json, or of a tokenizer.model in protobuf.

llama.cpp merges the pair whose result scores highest. A tokenizer.json has merges in their order instead, so a token
scores the higher the earlier it comes out of one.
"""

import re
import struct
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.store.conversion.folder import Folder
from hutch.store.conversion.tokens import CONTROL, NORMAL, UNUSED, USER_DEFINED, listed, merges_of, part

_SPACE = "\u2581"
_UNKNOWN, _BYTE = 2, 6
_BPE = 2
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
_HINT = "Convert the model with llama.cpp, and give the GGUF file."
_MAX_MODEL_BYTES = 64 << 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
_PREPEND = {"type": "Prepend", "prepend": _SPACE}


def from_json(document: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The keys of a tokenizer.json whose model is BPE with byte fallback. Raises FormatError or NotBuilt."""
    model = part(document, "model")
    texts, types = listed(document, size, drops_beyond=True)
    for index, text in enumerate(texts):
        if types[index] == NORMAL and _BYTE_TOKEN.fullmatch(text):
            types[index] = _BYTE
        elif text == model.get("unk_token"):
            types[index] = _UNKNOWN
    merges = merges_of(model.get("merges"))
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    scores = array("f", [-float(ranks.get(text, len(merges))) for text in texts])
    return _keys(texts, types, scores, has_prefix=_has_prefix(document))


def _has_prefix(document: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text."""
    normalizer, pre = document.get("normalizer"), document.get("pre_tokenizer")
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    if steps not in ([], [_REPLACE], [_PREPEND, _REPLACE]):
        raise NotBuilt("tokenizer.json: its normalizer is none that is known", hint=_HINT)
    if not isinstance(pre, dict):
        return _PREPEND in steps
    if pre.get("type") == "Metaspace" and pre.get("replacement") == _SPACE:
        scheme = "always" if pre.get("add_prefix_space", True) else "never"
        return bool(pre.get("prepend_scheme", scheme) != "never")
    if pre.get("type") == "Split" and pre.get("pattern") == {"String": " "} and steps:  # none are left
        return _PREPEND in steps
    raise NotBuilt("tokenizer.json: its pre_tokenizer is none that is known", hint=_HINT)


def from_model(folder: Folder, size: int) -> dict[str, Any]:
    """The keys of a tokenizer.model, with the tokens that other files add to it. Raises FormatError or NotBuilt."""
    texts, types = [f"[PAD{index}]" for index in range(size)], array("i", [UNUSED]) * size
    scores = array("f", [-1000.0]) * size
    data = folder.data("tokenizer.model", _MAX_MODEL_BYTES)
    try:
        fields = list(_fields(data))
        pieces = [dict(_fields(value)) for number, value in fields if number == 1]
        trainer, normalizer = (
            dict(_fields(next((value for number, value in fields if number == wanted), b"")))
            for wanted in (2, 3)
        )
    except (IndexError, struct.error, TypeError, ValueError):
        raise FormatError("tokenizer.model: cannot be read as SentencePiece's protobuf") from None
    if trainer.get(3, 1) != _BPE:
        raise NotBuilt("tokenizer.model: a SentencePiece model other than BPE is not built", hint=_HINT)
    if normalizer.get(2) or normalizer.get(4, 1):
        raise NotBuilt("tokenizer.model: a normalizer that changes texts is not built", hint=_HINT)
    if not 0 < len(pieces) <= size:
        raise FormatError(f"tokenizer.model: it has {len(pieces):,} tokens; config.json says {size:,}")
    for index, piece in enumerate(pieces):
        text, score, kind = piece.get(1), piece.get(2, b"\0\0\0\0"), piece.get(3, NORMAL)
        if not isinstance(text, bytes) or not isinstance(score, bytes) or kind not in range(1, 7):
            raise FormatError(f"tokenizer.model: token {index} cannot be read")
        texts[index], types[index] = text.decode(errors="replace"), kind
        (scores[index],) = struct.unpack("<f", score)
    for text, index, is_special in _added(folder):
        if 0 <= index < size:
            texts[index], types[index] = text, CONTROL if is_special else USER_DEFINED
    return _keys(texts, types, scores, has_prefix=bool(normalizer.get(3, 1)))


def _added(folder: Folder) -> Iterator[tuple[str, int, bool]]:
    for text, index in (folder.json("added_tokens.json") or {}).items():
        if type(index) is int:
            yield text, index, True
    told = (folder.json("tokenizer_config.json") or {}).get("added_tokens_decoder")
    for index, each in told.items() if isinstance(told, dict) else ():
        if index.isdecimal() and isinstance(each, dict) and isinstance(each.get("content"), str):
            yield each["content"], int(index), each.get("special") is True


def _keys(
    texts: list[str], types: "array[int]", scores: "array[float]", *, has_prefix: bool
) -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.add_space_prefix": has_prefix,
    }


def _fields(data: object) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: integers, and bytes of what is longer."""
    if not isinstance(data, bytes):
        raise TypeError("a field is no message")
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise ValueError("a field is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number is too long")
