"""A model's tokenizer as llama.cpp's `tokenizer.ggml.…` keys, of whichever kind it is, and its chat template."""

from collections.abc import Mapping
from typing import Any

from hutch.store.conversion import byte_pairs, sentence_pieces
from hutch.store.conversion.folder import Folder
from hutch.store.conversion.tokens import part

_SPECIALS = (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))


def keys(folder: Folder, size: int) -> dict[str, Any]:
    """The keys of the tokenizer, which has `size` tokens. Raises NotBuilt for one that llama.cpp would not know."""
    said = folder.json("tokenizer_config.json") or {}
    if "tokenizer.json" not in folder.files and "tokenizer.model" in folder.files:
        document: Mapping[str, Any] = {}
        found = sentence_pieces.from_model(folder, size)
    else:
        document = folder.needed_json("tokenizer.json")
        model = part(document, "model")
        is_sentence_piece = model.get("type") == "BPE" and model.get("byte_fallback") is True
        take = sentence_pieces.from_json if is_sentence_piece else byte_pairs.from_json
        found = take(document, size)
    is_first_added = "tokenizer.model" in folder.files and not document
    found["tokenizer.ggml.add_bos_token"] = _adds_first(said, document, default=is_first_added)
    ids = {text: index for index, text in enumerate(found["tokenizer.ggml.tokens"])}
    for name, key in _SPECIALS:
        if (index := _special_id(folder, said, name, ids)) is not None:
            found[f"tokenizer.ggml.{key}_token_id"] = index
    if template := _template(folder, said):
        found["tokenizer.chat_template"] = template
    return found


def _adds_first(said: Mapping[str, Any], document: Mapping[str, Any], *, default: bool) -> bool:
    """Whether every text begins with a token of its own."""
    if isinstance(said.get("add_bos_token"), bool):
        return bool(said["add_bos_token"])
    steps = document.get("post_processor") or {}
    steps = steps.get("processors", [steps]) if isinstance(steps, dict) else []
    single = [each.get("single") for each in steps if isinstance(each, dict) and each.get("single")]
    return (bool(single) and isinstance(single[0], list) and "SpecialToken" in single[0][0]) or default


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
