"""Texts as a model's tokens, and back."""

from dataclasses import dataclass
from typing import Protocol

from hutch.core.names import ModelName


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text as tokens. `pieces`: the bytes that each stands for, where they were asked for. `num_ctx`: the context's size."""

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...]
    num_ctx: int


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """What a model's file says of its tokens. A token is empty where there is none."""

    bos_token: str
    eos_token: str
    chat_template: str
    num_ctx: int


class Tokenizer(Protocol):
    """The tokenizers of models, by model name. Each call loads the model where it is not loaded."""

    async def tokenize(
        self,
        name: ModelName,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        with_pieces: bool = False,
    ) -> Tokenized:
        """The tokens of a text.

        `add_special`: with those that begin every prompt. `parse_special`: names of special tokens in the text are those tokens.
        """

    async def detokenize(self, name: ModelName, tokens: tuple[int, ...]) -> str:
        """The text of tokens. Raises BadInput for numbers that are no tokens of this model."""

    async def special_tokens(self, name: ModelName) -> SpecialTokens:
        """What begins and ends a text, and the template of conversations."""
