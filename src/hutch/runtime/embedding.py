"""Texts into vectors by one worker."""

import asyncio
import base64
import math
from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hutch.core.chat import EmbedRequest
from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.client import WorkerClient
from hutch.formats import gguf, headers
from hutch.prompt import wordpiece
from hutch.prompt.wordpiece import WordPiece

_Vector = tuple[float, ...]
_Input = str | Sequence[int]
_LONG = 1 << 14  # characters: to take them apart keeps the event loop for some milliseconds


class BatchExceeded(Exception):  # no failure: the model is loaded anew, and asked again
    """The worker's batch is smaller than a text that its context holds."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__(f"a text of {num_tokens} tokens")
        self.num_tokens = num_tokens


async def embed_texts(
    client: WorkerClient,
    request: EmbedRequest,
    max_tokens: int,
    words: WordPiece | None = None,
    *,
    num_ubatch: int | None = None,
) -> tuple[tuple[_Vector, ...], int]:
    """The vectors of `request.texts`, and how many tokens they had. Texts over `max_tokens` are cut if that is allowed.

    Raises ContextExceeded with the index of a text that is too long, and BatchExceeded where one has more than `num_ubatch` tokens.
    """
    inputs = await _fitting(client, request, min(max_tokens, num_ubatch or max_tokens), max_tokens, words)
    longest = max((len(tokens) for tokens in inputs if not isinstance(tokens, str)), default=0)
    if num_ubatch is not None and longest > num_ubatch:
        raise BatchExceeded(longest)
    reply = await client.call("/v1/embeddings", {"input": inputs, "encoding_format": "base64"})
    rows = sorted(reply["data"], key=lambda row: int(row["index"]))
    vectors = tuple(_finished(row["embedding"], request, int(row["index"])) for row in rows)
    return vectors, int(reply["usage"]["prompt_tokens"])


async def _fitting(
    client: WorkerClient, request: EmbedRequest, sure_tokens: int, max_tokens: int, words: WordPiece | None
) -> list[_Input]:
    """The texts, those that may have more than `sure_tokens` as tokens cut to `max_tokens`."""
    inputs: list[_Input] = []
    for index, text in enumerate(request.texts):
        # A token stands for at least a byte; half is room for what the engine adds.
        if text and words is None and _size(text) < sure_tokens // 2:
            inputs.append(text)
            continue
        tokens = await _tokens(client, text, max_tokens, words)
        if (
            not tokens
        ):  # of an empty text some models' tokenizers make a first and a last token, and others nothing
            raise BadInput(
                f"{_where(request, index) or 'input: '}it is empty", hint="Leave it out, or send a text."
            )
        if len(tokens) > max_tokens:
            if not request.truncate:
                raise ContextExceeded(
                    f"{_where(request, index)}the input length exceeds the context length",
                    hint=f"Of a text, {max_tokens} tokens are embedded: as many as the model takes, or num_ctx if that is less.",
                    prompt_tokens=len(tokens),
                    num_ctx=max_tokens,
                )
            if max_tokens <= len(await _tokens(client, "", max_tokens, words)):
                raise ContextExceeded(
                    f"{_where(request, index)}input after truncation exceeds maximum context length",
                    hint="What opens and closes a text takes the whole context: ask for a larger num_ctx.",
                    prompt_tokens=len(tokens),
                    num_ctx=max_tokens,
                )
            # keeps the closing token of models that have one
            tokens = [*tokens[: max_tokens - 1], tokens[-1]]
        inputs.append(tokens)
    return inputs


@lru_cache(maxsize=8)
def word_piece(weights: str) -> WordPiece | None:
    """A model's tokenizer, where it is one that we have. A blob's path stands for its content."""
    path = Path(weights)
    if headers.header(path).metadata.get("tokenizer.ggml.model") != "bert":
        return None
    return wordpiece.of(gguf.read(path).metadata)


def _where(request: EmbedRequest, index: int) -> str:
    return f"input.{index}: " if len(request.texts) > 1 else ""


def _size(text: _Input) -> int:
    return len(text.encode(errors="replace")) if isinstance(text, str) else len(text)


async def _tokens(client: WorkerClient, text: _Input, max_tokens: int, words: WordPiece | None) -> list[int]:
    if not isinstance(text, str):
        return list(text)
    if words is None:
        reply = await client.call("/tokenize", {"content": text, "add_special": True})
        return [int(token) for token in reply["tokens"]]
    if len(text) < _LONG:
        return words.tokens(text, max_tokens)
    return await asyncio.to_thread(words.tokens, text, max_tokens)


def _finished(packed: str, request: EmbedRequest, index: int) -> _Vector:
    """A vector as was asked for, of the engine's 32-bit numbers."""
    vector = tuple(array("f", base64.b64decode(packed)))
    if request.dimensions is not None and request.dimensions < len(vector):
        if request.dimensions < 1:
            raise BadInput("dimensions must be at least 1")
        vector = vector[: request.dimensions]
    norm = math.hypot(*vector)
    if not math.isfinite(norm):
        raise EngineFailed(
            f"{_where(request, index)}embedding contains NaN or Inf values", hint="Try another model or text."
        )
    if not request.normalize or not norm:
        return vector
    return tuple(value / norm for value in vector)
