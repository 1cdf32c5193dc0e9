"""The tokens by which models are asked to fill in the middle."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Before the prefix, before the suffix, before the middle; by family, under the names that their vocabularies have.
_FAMILIES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # CodeLlama
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),
)
_KEYS = ("fim_pre", "fim_suf", "fim_mid")
_OLD_KEYS = ("prefix", "suffix", "middle")


def fim_tokens(metadata: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The three tokens' texts, by their ids where the file says them, else by their names; None without any."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, Sequence) or isinstance(tokens, str):
        return None
    for keys in (_KEYS, _OLD_KEYS):
        ids = [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in keys]
        found = [tokens[i] for i in ids if isinstance(i, int) and 0 <= i < len(tokens)]
        if len(found) == len(keys) and all(isinstance(text, str) and text for text in found):
            return found[0], found[1], found[2]
    names = {name for family in _FAMILIES for name in family}
    return fim_family(token for token in tokens if isinstance(token, str) and token in names)


def fim_family(tokens: Iterable[str]) -> tuple[str, str, str] | None:
    """The three tokens' texts, where a vocabulary has those of a family that is known."""
    present = set(tokens)
    return next((family for family in _FAMILIES if present.issuperset(family)), None)
