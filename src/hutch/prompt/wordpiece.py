"""WordPiece: a text as the tokens that BERT was trained on.

llama.cpp's own takes the parts of Korean syllables and the vowel signs of Indic scripts away, and spells out words
that Hugging Face's `tokenizers` gives up on. This one gives what `tokenizers` gives.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_SPACE = "\u2581"  # the begin of a word in a GGUF vocabulary
_LONGEST_WORD = 100  # characters; longer ones are unknown
_CONTROL = 3  # a token's type
_MAX_SPELT = 1 << 15  # characters remembered: texts of all languages have fewer, a hostile one has a million
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPiece:
    """The tokenizer of one vocabulary. It lowers letters and strips accents, as llama.cpp's does."""

    def __init__(
        self, tokens: Sequence[str], types: Sequence[int], special_ids: tuple[int, int, int]
    ) -> None:
        self._ids = {text: index for index, text in enumerate(tokens)}
        self._first, self._last, self._unknown = special_ids
        self._longest = max(map(len, tokens))
        specials = [text for text, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
        self._specials = re.compile(f"({'|'.join(map(re.escape, specials))})") if specials else None

    def tokens(self, text: str, limit: int) -> list[int]:
        """The ids of a text's tokens, with those that open and close it. Stops a word after `limit` is passed."""
        parts = self._specials.split(text) if self._specials else [text]
        ids = [self._first]
        for index, part in enumerate(parts):
            if index % 2:
                ids.append(self._ids[part])
            else:
                for word in unicodedata.normalize("NFD", part).translate(_SPELLING).split():
                    ids += self._pieces(word)
                    if len(ids) >= limit:
                        return [*ids, self._last]
        return [*ids, self._last]

    def _pieces(self, word: str) -> Sequence[int]:
        if len(word) > _LONGEST_WORD:
            return (self._unknown,)
        found: list[int] = []
        left = _SPACE + word
        while left:
            for end in range(min(len(left), self._longest), 0, -1):
                if (known := self._ids.get(left[:end])) is not None:
                    break
            else:
                return (self._unknown,)
            found.append(known)
            left = left[end:]
        return found


def of(metadata: Mapping[str, Any]) -> WordPiece | None:
    """The tokenizer that a GGUF file's metadata describe; None where it is of another kind."""
    if metadata.get("tokenizer.ggml.model") != "bert":
        return None
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata.get("tokenizer.ggml.token_type", ())
    first, last, unknown = (
        metadata.get(f"tokenizer.ggml.{name}_token_id", default)
        for name, default in (("bos", 101), ("seperator", 102), ("unknown", 100))  # llama.cpp's own defaults
    )
    return WordPiece(tokens, types or (0,) * len(tokens), (first, last, unknown))


class _Spelling(dict[int, str]):
    """What a character becomes, learnt as characters come: nothing, a space, a word of its own, or itself lowered."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        if character in "\t\n\r" or kind in ("Zs", "Zl", "Zp"):
            spelt = " "
        elif kind in ("Mn", "Cc", "Cf", "Co", "Cs") or code == 0xFFFD:
            spelt = ""
        elif kind[0] == "P" or character in "$+<=>^`|~" or any(a <= code <= z for a, z in _IDEOGRAPHS):
            spelt = f" {character} "
        else:
            spelt = character.lower()
        if len(self) < _MAX_SPELT:
            self[code] = spelt
        return spelt


_SPELLING = _Spelling()
