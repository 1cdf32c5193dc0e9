"""WordPiece of a GGUF file as Hugging Face's `tokenizers` reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats.gguf_source import shown

_SPACE = "\u2581"  # the begin of a word in a GGUF vocabulary
_CONTROL, _UNUSED = 3, 5  # types of tokens


def document(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a tokenizer.json that has a GGUF file's vocabulary. Raises FormatError."""
    tokens: Sequence[str] = metadata["tokenizer.ggml.tokens"]
    types = metadata.get("tokenizer.ggml.token_type") or (1,) * len(tokens)
    first, last, unknown = marks = [
        _known(metadata.get(f"tokenizer.ggml.{name}_token_id", default), len(tokens), name)
        for name, default in (("bos", 101), ("seperator", 102), ("unknown", 100))  # llama.cpp's own defaults
    ]
    special = {index: tokens[index] for index, kind in enumerate(types) if kind == _CONTROL or index in marks}
    vocabulary = {
        text if index in special else _spelt(text, kind): index
        for index, (text, kind) in enumerate(zip(tokens, types, strict=True))
    }

    def opened(*parts: tuple[str, int]) -> list[dict[str, Any]]:
        return [
            {"Sequence" if text in "AB" else "SpecialToken": {"id": text, "type_id": kind}}
            for text, kind in parts
        ]

    opening, closing = tokens[first], tokens[last]
    one = ((opening, 0), ("A", 0), (closing, 0))
    around = {
        text: {"id": text, "ids": [index], "tokens": [text]}
        for index, text in ((first, opening), (last, closing))
    }
    added = [
        {"id": index, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for index, text in special.items()
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": opened(*one),
            "pair": opened(*one, ("B", 1), (closing, 1)),
            "special_tokens": around,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": tokens[unknown],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def _spelt(text: str, kind: int) -> str:
    """A GGUF token as WordPiece writes it: the begin of a word is bare there, what goes on begins with ##."""
    if kind == _UNUSED:
        return text
    return text[1:] if text.startswith(_SPACE) else f"##{text}"


def _known(index: Any, num_tokens: int, name: str) -> int:
    if type(index) is not int or not 0 <= index < num_tokens:
        raise FormatError(
            f"tokenizer.ggml.{name}_token_id is {shown(index)}; the model has {num_tokens:,} tokens"
        )
    return index
