"""Documents in the order in which they answer a query, by one worker."""

import math
from collections.abc import Mapping
from typing import Any

from hutch.core.chat import Ranked, RerankRequest
from hutch.core.errors import ContextExceeded, EngineFailed, Unsuited
from hutch.engines.client import WorkerClient

_MARKS = 4  # tokens: the engine opens, parts and closes a pair with as many at most
_BROKEN = "the model's worker sent no ranking"


async def rank_documents(
    client: WorkerClient, request: RerankRequest, max_tokens: int | None
) -> tuple[tuple[Ranked, ...], int]:
    """The documents, the best first, and how many tokens they and the query had.

    Of a document that is longer than `max_tokens` with the query, the end is left out; with None the worker does that.
    Raises ContextExceeded for a query that leaves no room, and EngineFailed where the scores are no numbers.
    """
    documents = list(request.documents)
    if max_tokens is not None:
        documents = await _fitting(client, request, max_tokens)
    body = {"query": request.query, "documents": documents}
    reply = await client.call("/rerank", body)
    results = reply.get("results") if isinstance(reply, dict) else None
    found = [_ranked(each, len(request.documents)) for each in results or ()]
    if sorted(each.index for each in found) != list(range(len(request.documents))):
        raise EngineFailed(_BROKEN, hint="Try another model.")
    found.sort(key=lambda each: (-each.score, each.index))
    return tuple(found[: request.top_n]), int(reply["usage"]["prompt_tokens"])


def check_ranks(name: str, *, is_reranker: bool) -> None:
    """Raise Unsuited for a model that scores nothing."""
    if not is_reranker:
        raise Unsuited(
            f'"{name}" does not support rerank',
            hint="Name a model whose capabilities are `rerank`: `hutch show MODEL` tells them.",
        )


async def _fitting(client: WorkerClient, request: RerankRequest, max_tokens: int) -> list[str]:
    """The documents, those that are too long without their end."""
    query_bytes = len(request.query.encode(errors="replace"))
    room: int | None = None
    fitting: list[str] = []
    for document in request.documents:
        # A token stands for at least a byte.
        if query_bytes + len(document.encode(errors="replace")) + _MARKS > max_tokens:
            if room is None:
                room = await _room(client, request.query, max_tokens)
            fitting.append(await _cut(client, document, room))
        else:
            fitting.append(document)
    return fitting


async def _cut(client: WorkerClient, document: str, room: int) -> str:
    """The document without its end. What a vocabulary lacks comes back as `[UNK]`, which is several tokens: so it is counted again."""
    keep = room
    while len(tokens := await _tokens(client, document)) > room:
        document = str((await client.call("/detokenize", {"tokens": tokens[:keep]}))["content"])
        keep = keep * 3 // 4
    return document


async def _tokens(client: WorkerClient, text: str) -> list[int]:
    """The tokens as the engine counts them in a ranking: there, the names of special tokens are texts."""
    return list((await client.call("/tokenize", {"content": text, "parse_special": False}))["tokens"])


async def _room(client: WorkerClient, query: str, max_tokens: int) -> int:
    """How many tokens of a document have room beside the query. Raises ContextExceeded where none has."""
    num_tokens = len(await _tokens(client, query))
    if num_tokens + _MARKS >= max_tokens:
        raise ContextExceeded(
            "the query is longer than the model takes",
            hint=f"This model takes at most {max_tokens} tokens, of query and document together.",
            prompt_tokens=num_tokens,
            num_ctx=max_tokens,
        )
    return max_tokens - num_tokens - _MARKS


def _ranked(each: Mapping[str, Any], num_documents: int) -> Ranked:
    index, score = int(each["index"]), each["relevance_score"]
    if not isinstance(score, int | float) or not math.isfinite(score) or not 0 <= index < num_documents:
        raise EngineFailed(
            f"documents.{index}: the score is no number",
            hint="Try another model, or leave that document out.",
        )
    return Ranked(index, float(score))
