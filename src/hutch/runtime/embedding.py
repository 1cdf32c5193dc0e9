"""Texts into vectors by one worker."""

import math
from collections.abc import Sequence

from hutch.core.chat import EmbedRequest
from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.client import WorkerClient

_Vector = tuple[float, ...]


async def embed_texts(
    client: WorkerClient, request: EmbedRequest, max_tokens: int
) -> tuple[tuple[_Vector, ...], int]:
    """The vectors of `request.texts`, and how many tokens they had. Texts over `max_tokens` are cut if that is allowed.

    Raises ContextExceeded with the index of a text that is too long.
    """
    inputs = await _fitting(client, request, max_tokens)
    reply = await client.call("/v1/embeddings", {"input": inputs, "encoding_format": "float"})
    rows = sorted(reply["data"], key=lambda row: int(row["index"]))
    vectors = tuple(_finished(row["embedding"], request, int(row["index"])) for row in rows)
    return vectors, int(reply["usage"]["prompt_tokens"])


async def _fitting(client: WorkerClient, request: EmbedRequest, max_tokens: int) -> list[str | Sequence[int]]:
    """The texts, those that may be too long as tokens cut to size."""
    inputs: list[str | Sequence[int]] = []
    for index, text in enumerate(request.texts):
        if (
            _size(text) < max_tokens // 2
        ):  # a token stands for at least a byte; half is room for what the engine adds
            inputs.append(text)
            continue
        tokens = await _tokens(client, text)
        if len(tokens) > max_tokens:
            if not request.truncate:
                raise ContextExceeded(
                    "the input length exceeds the context length",
                    hint=f"Input {index} has {len(tokens)} tokens; this model embeds at most {max_tokens} at once.",
                    prompt_tokens=len(tokens),
                    num_ctx=max_tokens,
                )
            tokens = [
                *tokens[: max_tokens - 1],
                tokens[-1],
            ]  # keeps the closing token of models that have one
        inputs.append(tokens)
    return inputs


def _size(text: str | Sequence[int]) -> int:
    return len(text.encode(errors="replace")) if isinstance(text, str) else len(text)


async def _tokens(client: WorkerClient, text: str | Sequence[int]) -> list[int]:
    if not isinstance(text, str):
        return list(text)
    reply = await client.call("/tokenize", {"content": text, "add_special": True})
    return [int(token) for token in reply["tokens"]]


def _finished(values: Sequence[float | None], request: EmbedRequest, index: int) -> _Vector:
    vector = tuple(value for value in values if value is not None and math.isfinite(value))
    if len(vector) != len(values):  # the engine writes NaN as null
        raise EngineFailed(f"embedding {index} contains NaN or Inf values", hint="Try another model or text.")
    if request.dimensions is not None and request.dimensions < len(vector):
        if request.dimensions < 1:
            raise BadInput("dimensions must be at least 1")
        vector = vector[: request.dimensions]
    if not request.normalize:
        return vector
    norm = math.sqrt(sum(value * value for value in vector))
    return tuple(value / norm for value in vector) if norm else vector
