"""The tokenizer of a GGUF file as Hugging Face's files: tokenizer.json, tokenizer_config.json, chat_template.jinja.

Pure: metadata in, JSON documents out. Byte-level BPE alone; what it cannot tell exactly it refuses.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hutch.core.errors import NotBuilt

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
}
_DIGITS = ("smollm", "starcoder", "refact", "command-r")
_PLAIN = ("gpt-2", "")
_CLASSES = {"qwen2": "Qwen2Tokenizer", "smollm": "GPT2Tokenizer", "gpt-2": "GPT2Tokenizer"}
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
_NAMES = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}


def is_byte_level(metadata: Mapping[str, Any]) -> bool:
    """Whether the vocabulary is of byte-level BPE, which this file can convert."""
    return metadata.get("tokenizer.ggml.model") == "gpt2"


def tokenizer_document(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The content of tokenizer.json. Raises NotBuilt for a tokenizer whose way of splitting text is not known."""
    pre = str(metadata.get("tokenizer.ggml.pre", ""))
    tokens: Sequence[str] = metadata["tokenizer.ggml.tokens"]
    types = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": pre not in _SPLITS,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(index, text, kind == _CONTROL)
            for index, (text, kind) in enumerate(zip(tokens, types, strict=True))
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        "normalizer": {"type": "NFC"} if _SPLITS.get(pre) == _QWEN2 else None,
        "pre_tokenizer": _pre_tokenizer(pre, byte_level),
        "post_processor": _post_processor(metadata, tokens) or byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre in ("llama-bpe", "llama3", "tekken"),
            "vocab": {text: index for index, text in enumerate(tokens) if types[index] != _UNUSED},
            "merges": [_pair(merge) for merge in metadata.get("tokenizer.ggml.merges", ())],
        },
    }


def tokenizer_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The content of tokenizer_config.json."""
    tokens: Sequence[str] = metadata["tokenizer.ggml.tokens"]
    said: dict[str, Any] = {
        "tokenizer_class": _CLASSES.get(
            str(metadata.get("tokenizer.ggml.pre", "")), "PreTrainedTokenizerFast"
        ),
        "add_bos_token": _adds(metadata, "bos"),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }
    if template := metadata.get("tokenizer.chat_template"):
        said["chat_template"] = template
    for key, name in _NAMES.items():
        index = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(index, int) and 0 <= index < len(tokens):
            said[f"{name}_token"] = tokens[index]
    if length := metadata.get(f"{metadata.get('general.architecture')}.context_length"):
        said["model_max_length"] = length
    return said


def _pre_tokenizer(pre: str, byte_level: Mapping[str, Any]) -> Mapping[str, Any]:
    if pre in _PLAIN:
        return byte_level
    if pre in _DIGITS:
        first: dict[str, Any] = {"type": "Digits", "individual_digits": True}
    elif pre in _SPLITS:
        first = {"type": "Split", "pattern": {"Regex": _SPLITS[pre]}, "behavior": "Isolated", "invert": False}
    else:
        raise NotBuilt(
            f"a tokenizer that splits text as {pre!r} is not built",
            hint="Begin with the model's folder from Hugging Face, which brings its tokenizer.json.",
        )
    return {"type": "Sequence", "pretokenizers": [first, byte_level]}


def _post_processor(metadata: Mapping[str, Any], tokens: Sequence[str]) -> Mapping[str, Any] | None:
    """What puts the first token before every text, where the model wants one."""
    index = metadata.get("tokenizer.ggml.bos_token_id")
    if not _adds(metadata, "bos") or not isinstance(index, int):
        return None
    first, text = tokens[index], {"Sequence": {"id": "A", "type_id": 0}}
    special = {"SpecialToken": {"id": first, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [special, text],
        "pair": [special, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {first: {"id": first, "ids": [index], "tokens": [first]}},
    }


def _adds(metadata: Mapping[str, Any], name: str) -> bool:
    said = metadata.get(f"tokenizer.ggml.add_{name}_token")
    # llama.cpp puts it there for the vocabulary of Llama 3 unless the file says otherwise
    return (
        bool(said)
        if said is not None
        else metadata.get("tokenizer.ggml.pre") in ("llama-bpe", "llama3", "tekken")
    )


def _added(index: int, text: str, is_special: bool) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": text, **plain, "special": is_special}


def _pair(merge: str) -> list[str]:
    # a token may begin with a space, as one of spaces alone does in some vocabularies
    at = merge.index(" ", 1)
    return [merge[:at], merge[at + 1 :]]
