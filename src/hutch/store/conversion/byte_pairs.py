"""Byte-level BPE of a tokenizer.json as llama.cpp's `tokenizer.ggml.…` keys, and the chat template beside it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf_source import shown
from hutch.store.conversion.folder import Folder
from hutch.store.conversion.tokens import listed, part

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


def byte_pairs(folder: Folder, size: int) -> dict[str, Any]:
    """The keys of a byte-level BPE tokenizer. Raises NotBuilt for one that llama.cpp would not know."""
    document = folder.needed_json("tokenizer.json")
    model = part(document, "model")
    if model.get("type") != "BPE" or model.get("byte_fallback") is True:
        kind = "SentencePiece" if model.get("byte_fallback") is True else shown(model.get("type"))
        raise NotBuilt(f"tokenizer.json: a tokenizer of the kind {kind} is not built", hint=_HINT)
    normalizer = document.get("normalizer")
    if normalizer is not None and normalizer != {"type": "NFC"}:
        raise NotBuilt("tokenizer.json: a normalizer other than NFC is not built", hint=_HINT)
    texts, types = listed(document, size)
    said = folder.json("tokenizer_config.json") or {}
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _pre(document.get("pre_tokenizer")),
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": _merges(model.get("merges")),
        "tokenizer.ggml.add_bos_token": _adds_first(said, document),
    }
    ids = {text: index for index, text in enumerate(texts)}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        if (found := _special_id(folder, said, name, ids)) is not None:
            keys[f"tokenizer.ggml.{key}_token_id"] = found
    if template := _template(folder, said):
        keys["tokenizer.chat_template"] = template
    return keys


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


def _merges(value: Any) -> list[str]:
    pairs = [each.split(" ") if isinstance(each, str) else each for each in value or ()]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(each, str) for each in pair):
            raise FormatError(f"tokenizer.json: the merge {shown(pair)} is no pair of tokens")
    return [" ".join(pair) for pair in pairs]


def _adds_first(said: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether every text begins with a token of its own."""
    if isinstance(said.get("add_bos_token"), bool):
        return bool(said["add_bos_token"])
    steps = document.get("post_processor") or {}
    steps = steps.get("processors", [steps]) if isinstance(steps, dict) else []
    single = [each.get("single") for each in steps if isinstance(each, dict) and each.get("single")]
    return bool(single) and isinstance(single[0], list) and "SpecialToken" in single[0][0]


def _special_id(folder: Folder, said: Mapping[str, Any], name: str, ids: Mapping[str, int]) -> int | None:
    token = said.get(f"{name}_token")
    text = token.get("content") if isinstance(token, dict) else token
    if isinstance(text, str) and text in ids:
        return ids[text]
    value = folder.config.get(f"{name}_token_id")
    value = value[0] if isinstance(value, list) and value else value
    return value if type(value) is int and 0 <= value < len(ids) else None


def _template(folder: Folder, said: Mapping[str, Any]) -> str:
    if "chat_template.jinja" in folder.files:
        return folder.text("chat_template.jinja")
    value = said.get("chat_template")
    if isinstance(value, list):
        named = {each.get("name"): each.get("template") for each in value if isinstance(each, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else ""
