"""A backend whose answers are counted and timed on their way through."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from prometheus_client import Histogram

from hutch.core.access import Principal
from hutch.core.backend import Backend, BackendAround
from hutch.core.chat import (
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    Ranking,
    RerankRequest,
    Usage,
)
from hutch.core.names import ModelName
from hutch.metrics.counters import Counters


def _itself(name: ModelName) -> ModelName:
    return name


class MeasuredBackend(BackendAround):
    """Hands everything on to `backend`, and what is to be counted to `counters`.

    A model counts under the name of what is loaded for it (`loaded_as`), as the figures of its worker do.
    """

    def __init__(
        self, backend: Backend, counters: Counters, loaded_as: Callable[[ModelName], ModelName] = _itself
    ) -> None:
        super().__init__(backend)
        self._counters = counters
        self._loaded_as = loaded_as

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """Stream the answer."""
        clock, began = time.monotonic, time.monotonic()
        end = "cancelled"  # which stands, if nothing below is reached
        open_choices: dict[int, _Choice] = {}
        num_ended = 0
        try:
            async with aclosing(self._backend.generate(request, who)) as chunks:
                async for chunk in chunks:
                    choice = open_choices.get(chunk.choice)
                    if chunk.finish_reason:
                        open_choices.pop(chunk.choice, None)
                        usage = chunk.usage or Usage()
                        if num_ended:  # all choices have one prompt
                            usage = replace(usage, prompt_tokens=0, cached_tokens=0)
                        num_ended += 1
                        self._ended(request, chunk.finish_reason, clock() - began, usage)
                    elif choice is None:
                        now = clock()
                        label = self._label(request.model)
                        gaps = self._counters.first_token(label, now - began)
                        open_choices[chunk.choice] = _Choice(now, gaps)
                    else:
                        choice.piece(clock())
                    yield chunk
        except Exception:
            end = "error"
            raise
        finally:
            if num_ended < request.num_choices:
                # Nobody says how many tokens these had.
                pieces = sum(choice.num_pieces for choice in open_choices.values())
                self._ended(request, end, clock() - began, Usage(completion_tokens=pieces))

    async def embed(self, request: EmbedRequest, who: Principal) -> Embeddings:
        """Turn texts into vectors."""
        found = await self._backend.embed(request, who)
        self._counters.read(self._label(request.model), "embed", found.prompt_tokens)
        return found

    async def rerank(self, request: RerankRequest, who: Principal) -> Ranking:
        """Put documents in the order in which they answer a query."""
        found = await self._backend.rerank(request, who)
        self._counters.read(self._label(request.model), "rerank", found.prompt_tokens)
        return found

    def _label(self, name: ModelName) -> str:
        return self._counters.label(self._loaded_as(name))

    def _ended(self, request: GenerateRequest, end: str, took_s: float, usage: Usage) -> None:
        self._counters.answer_ended(self._label(request.model), end, took_s, usage)


class _Choice:
    """An answer on its way: when its last piece came, and how many there were. Every token passes here."""

    __slots__ = ("_gaps", "_last", "num_pieces")

    def __init__(self, now: float, gaps: Histogram) -> None:
        self._last = now
        self._gaps = gaps
        self.num_pieces = 1

    def piece(self, now: float) -> None:
        """One more has come."""
        self._gaps.observe(now - self._last)
        self._last = now
        self.num_pieces += 1
