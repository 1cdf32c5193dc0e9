"""`/v1/score`: how well texts match in pairs, in vLLM's words. By a reranker, or by the angle between two vectors."""

import asyncio
import time
import uuid
from collections.abc import Sequence

from pydantic import AliasChoices, Field
from starlette.responses import JSONResponse, Response

from hutch.api.limits import MAX_INPUTS
from hutch.api.openai_wire import OpenAIDialect, OpenBody
from hutch.api.route import Call, Route
from hutch.core.access import Action, Principal
from hutch.core.backend import Backend
from hutch.core.chat import EmbedRequest, RerankRequest
from hutch.core.errors import BadInput, NotBuilt, Unsuited
from hutch.core.names import ModelName

_NOT_BUILT = ("use_activation", "activation", "softmax", "truncate_prompt_tokens", "mm_processor_kwargs")
Pair = tuple[str, str]


class ScoreBody(OpenBody):
    """`POST /v1/score`. One text may stand on the left for all on the right."""

    text_1: str | list[str] = Field(validation_alias=AliasChoices("text_1", "queries", "data_1"))
    text_2: str | list[str] = Field(validation_alias=AliasChoices("text_2", "documents", "items", "data_2"))

    def pairs(self) -> list[Pair]:
        """The texts that belong together. Raises BadInput."""
        for name in _NOT_BUILT:
            if (self.model_extra or {}).get(name) is not None:
                raise NotBuilt(
                    f"{name}: it is not supported; scores are on the model's own scale",
                    hint=f"Leave `{name}` out.",
                    param=name,
                )
        left = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        right = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        for name, texts in (("text_1", left), ("text_2", right)):
            if not texts or not all(text.strip() for text in texts):
                raise BadInput(f"{name}: there is nothing in it, or in one of its texts", param=name)
            if len(texts) > MAX_INPUTS:
                raise BadInput(f"{name}: more than {MAX_INPUTS} texts", param=name)
        if len(left) == 1:
            left = left * len(right)
        if len(left) != len(right):
            raise BadInput(
                f"text_1 has {len(left)} texts and text_2 has {len(right)}",
                hint="Send as many of both, or one text_1.",
                param="text_1",
            )
        return list(zip(left, right, strict=True))


class Score:
    """The routes, and the backend behind them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        dialect = OpenAIDialect("text_2")
        return tuple(
            Route(
                ("POST",), path, Action.INFER, self.score, dialect, ScoreBody, summary="Score pairs of texts"
            )
            for path in ("/v1/score", "/score")
        )

    async def score(self, call: Call) -> Response:
        """Score each pair, in the order in which they came."""
        body: ScoreBody = call.body
        pairs = body.pairs()
        headers = body.unknown()
        name = ModelName.parse(body.model)
        try:
            scores, tokens = await self._ranked(name, pairs, call.who)
        except Unsuited:
            scores, tokens = await self._compared(name, pairs, call.who)
        reply = {
            "id": f"score-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": body.model,
            "data": [
                {"index": index, "object": "score", "score": score} for index, score in enumerate(scores)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return JSONResponse(reply, headers=headers)

    async def _ranked(
        self, name: ModelName, pairs: Sequence[Pair], who: Principal
    ) -> tuple[list[float], int]:
        """The scores of a reranker, and the tokens that were read. Raises Unsuited for another model."""
        places: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(pairs):
            places.setdefault(query, []).append(place)
        scores, tokens = [0.0] * len(pairs), 0
        for query, its in places.items():
            request = RerankRequest(name, query, tuple(pairs[place][1] for place in its))
            ranking = await self._backend.rerank(request, who)
            for each in ranking.results:
                scores[its[each.index]] = each.score
            tokens += ranking.prompt_tokens
        return scores, tokens

    async def _compared(
        self, name: ModelName, pairs: Sequence[Pair], who: Principal
    ) -> tuple[list[float], int]:
        """The cosines between the vectors of an embedding model, and the tokens that were read."""
        texts = tuple(dict.fromkeys(text for pair in pairs for text in pair))
        found = await self._backend.embed(EmbedRequest(name, texts, truncate=False), who)
        vectors = dict(zip(texts, found.vectors, strict=True))

        def products() -> list[float]:
            both = (zip(vectors[left], vectors[right], strict=True) for left, right in pairs)
            return [sum(a * b for a, b in numbers) for numbers in both]

        return await asyncio.to_thread(products), found.prompt_tokens  # thousands of them take a second
