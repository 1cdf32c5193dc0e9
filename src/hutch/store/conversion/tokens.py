"""A tokenizer.json of Hugging Face as llama.cpp's `tokenizer.ggml.…` keys: its list of tokens, and WordPiece."""

from array import array
from collections.abc import Mapping
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf_source import shown
from hutch.store.conversion.folder import Folder

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
_SPACE = "\u2581"  # how llama.cpp marks the begin of a word
_SPECIALS = {
    "[CLS]": "bos_token_id",
    "[UNK]": "unknown_token_id",
    "[SEP]": "seperator_token_id",  # llama.cpp's spelling
    "[PAD]": "padding_token_id",
    "[MASK]": "mask_token_id",
}


def word_pieces(folder: Folder, size: int) -> dict[str, Any]:
    """The keys of a WordPiece tokenizer that lowers its letters, the only kind that llama.cpp has."""
    document = folder.needed_json("tokenizer.json")
    model, normalizer = part(document, "model"), part(document, "normalizer")
    if model.get("type") != "WordPiece" or model.get("continuing_subword_prefix", "##") != "##":
        raise NotBuilt(f"tokenizer.json: a BERT with a tokenizer {shown(model.get('type'))} is not built")
    if normalizer.get("lowercase") is not True or normalizer.get("strip_accents") is False:
        raise NotBuilt("tokenizer.json: a BERT that tells upper from lower case, or é from e, is not built")
    texts, types = listed(document, size)
    ids = {text: index for index, text in enumerate(texts)}
    missing = [text for text in _SPECIALS if text not in ids and text != "[MASK]"]
    if missing:
        raise FormatError(f"tokenizer.json: the token {missing[0]} is missing")
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": [_phantom(*each) for each in zip(texts, types, strict=True)],
        "tokenizer.ggml.token_type": types,
        **{f"tokenizer.ggml.{key}": ids[text] for text, key in _SPECIALS.items() if text in ids},
    }


def merges_of(value: Any) -> list[list[str]]:
    """The pairs that are merged, in order. Raises FormatError."""
    pairs = [each.split(" ") if isinstance(each, str) else each for each in value or ()]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(each, str) for each in pair):
            raise FormatError(f"tokenizer.json: the merge {shown(pair)} is no pair of tokens")
    return pairs


def listed(
    document: Mapping[str, Any], size: int, *, drops_beyond: bool = False
) -> tuple[list[str], "array[int]"]:
    """Every token by its id, and of what type each is; ids without a token are filled. Raises FormatError.

    `drops_beyond`: added tokens for which the model has no row, such as those of pictures, are left out.
    """
    vocabulary = part(part(document, "model"), "vocab")
    texts, types = [f"[PAD{index}]" for index in range(size)], array("i", [UNUSED]) * size
    added = document.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(each, dict) for each in added):
        raise FormatError("tokenizer.json: added_tokens is no list of objects")
    rows = [(text, index, NORMAL) for text, index in vocabulary.items()]
    rows += [
        (each.get("content"), each.get("id"), CONTROL if each.get("special") else USER_DEFINED)
        for each in added
    ]
    for text, index, kind in rows:
        if drops_beyond and kind != NORMAL and type(index) is int and index >= size:
            continue
        if not isinstance(text, str) or type(index) is not int or not 0 <= index < size:
            raise FormatError(
                f"tokenizer.json: token {shown(text)} has the id {shown(index)}; 0 to {size - 1:,} is allowed"
            )
        if kind == NORMAL and types[index] != UNUSED:
            raise FormatError(f"tokenizer.json: two tokens have the id {index}")
        texts[index], types[index] = text, kind
    return texts, types


def _phantom(text: str, kind: int) -> str:
    if kind in (CONTROL, UNUSED):
        return text
    return text[2:] if text.startswith("##") else _SPACE + text


def part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside the document. Raises FormatError."""
    value = document.get(key)
    if not isinstance(value, dict):
        raise FormatError(f"tokenizer.json: {key} is {shown(value)}; an object is needed")
    return value
