"""Texts as an encoder's tokens: checked, and beside the event loop where they are long."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import tokenizers

from hutch.core.errors import BadInput, ContextExceeded
from hutch.engines.onnx.encoder import Text

MAX_TEXTS = 4096
_LONG = 1 << 15  # characters: to take them apart keeps the event loop for some milliseconds


class EncoderTokens:
    """The tokenizer of one encoder, which knows `num_tokens` and takes texts of at most `max_tokens`."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, num_tokens: int, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._num_tokens = num_tokens
        self._max_tokens = max_tokens

    async def texts(self, given: Any) -> list[Text]:
        """The inputs as tokens. Raises BadInput, or ContextExceeded where one is longer than the model takes."""
        items = given if isinstance(given, list) and not all(type(each) is int for each in given) else [given]
        if len(items) > MAX_TEXTS:
            raise BadInput(f"input: more than {MAX_TEXTS} texts", param="input")
        words = [item for item in items if isinstance(item, str)]
        encoded = iter(await self.encoded(words))
        found = [
            _text(next(encoded)) if isinstance(item, str) else self._given(item, f"input.{index}")
            for index, item in enumerate(items)
        ]
        for text in found:
            if len(text.ids) > self._max_tokens:
                raise ContextExceeded(
                    "the input is longer than the model takes",
                    prompt_tokens=len(text.ids),
                    num_ctx=self._max_tokens,
                )
        return found

    def _given(self, ids: Any, name: str) -> Text:
        known = self.ids(ids, name)
        return Text(known, [0] * len(known))

    def ids(self, ids: Any, name: str) -> Sequence[int]:
        """Token ids as they were given. Raises BadInput that names the field."""
        if not isinstance(ids, list) or not ids:
            raise BadInput(f"{name}: a text, or a list of token ids, is needed", param=name)
        if not all(type(each) is int and 0 <= each < self._num_tokens for each in ids):
            raise BadInput(f"{name}: token ids are from 0 to {self._num_tokens - 1}", param=name)
        return ids

    async def pairs(self, query: str, documents: Sequence[str]) -> list[Text]:
        """The query with each document; of those that are too long, the document's end is cut off.

        Raises ContextExceeded where the query alone leaves no room.
        """
        (asked,) = await self.encoded([query], add_special=False)
        room = self._max_tokens - len(asked.ids) - self._tokenizer.num_special_tokens_to_add(is_pair=True)
        if room < 1:
            raise ContextExceeded(
                "the query is longer than the model takes",
                prompt_tokens=len(asked.ids),
                num_ctx=self._max_tokens,
            )
        pairs = []
        for document in await self.encoded(documents, add_special=False):
            document.truncate(room)
            pairs.append(_text(self._tokenizer.post_process(asked, document)))
        return pairs

    async def encoded(
        self, texts: Sequence[str], *, add_special: bool = True, parse_special: bool = True
    ) -> list[tokenizers.Encoding]:
        """The texts apart. `parse_special`: names of special tokens in them are those tokens; else they are plain text."""
        tokenizer = self._tokenizer if parse_special else self._literal

        def encode() -> list[tokenizers.Encoding]:
            return tokenizer.encode_batch(list(texts), add_special_tokens=add_special)

        return encode() if sum(map(len, texts)) < _LONG else await asyncio.to_thread(encode)

    def decoded(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def pieces(self, encoded: tokenizers.Encoding) -> list[str]:
        """What each token of a text stands for. WordPiece tells a word's begin by what goes on: `a ##b` is ` ab`."""
        if not isinstance(self._tokenizer.model, tokenizers.models.WordPiece):
            return list(encoded.tokens)
        special = self._tokenizer.get_added_tokens_decoder()
        return [
            piece if index in special else piece[2:] if piece.startswith("##") else f" {piece}"
            for index, piece in zip(encoded.ids, encoded.tokens, strict=True)
        ]

    @property
    def around(self) -> tuple[str, str]:
        """The tokens that open and close a text; empty where there is none."""
        found = self._tokenizer.encode("").tokens
        return (found[0], found[-1]) if len(found) == 2 else ("", "")

    @cached_property
    def _literal(self) -> tokenizers.Tokenizer:
        tokenizer = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.encode_special_tokens = True
        return tokenizer


def _text(encoded: tokenizers.Encoding) -> Text:
    return Text(encoded.ids, encoded.type_ids)
