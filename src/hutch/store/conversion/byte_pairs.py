"""Byte-level BPE of a tokenizer.json as llama.cpp's `tokenizer.ggml.…` keys."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf_source import shown
from hutch.store.conversion.tokens import listed, merges_of, part

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
# How a text is cut before pairs are merged, and what llama.cpp calls it.
_SPLITS: Mapping[str, str] = MappingProxyType(
    {
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST: "llama-bpe",
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST: "qwen2",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
    }
)
_HINT = "Convert the model with llama.cpp, and give the GGUF file."


def from_json(document: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The keys of a byte-level BPE tokenizer. Raises NotBuilt for one that llama.cpp would not know."""
    model = part(document, "model")
    if model.get("type") != "BPE":
        raise NotBuilt(
            f"tokenizer.json: a tokenizer of the kind {shown(model.get('type'))} is not built", hint=_HINT
        )
    normalizer = document.get("normalizer")
    if normalizer is not None and normalizer != {"type": "NFC"}:
        raise NotBuilt("tokenizer.json: a normalizer other than NFC is not built", hint=_HINT)
    texts, types = listed(document, size)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _pre(document.get("pre_tokenizer")),
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges_of(model.get("merges"))],
    }


def _pre(value: Any) -> str:
    steps = (
        value.get("pretokenizers") if isinstance(value, dict) and value.get("type") == "Sequence" else [value]
    )
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise FormatError("tokenizer.json: pre_tokenizer is no object")
    match [(step.get("type"), step) for step in steps]:
        case [("ByteLevel", _)]:
            return "gpt-2"
        case [("Digits", {"individual_digits": True}), ("ByteLevel", _)]:
            return "smollm"
        case [("Split", {"pattern": {"Regex": str(pattern)}}), ("ByteLevel", _)] if pattern in _SPLITS:
            return _SPLITS[pattern]
    raise NotBuilt("tokenizer.json: its pre_tokenizer is none that is known", hint=_HINT)
