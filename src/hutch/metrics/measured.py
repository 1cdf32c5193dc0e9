"""A backend whose answers are counted and timed on their way through."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from hutch.core.access import Principal
from hutch.core.backend import Backend, Running
from hutch.core.chat import (
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    LoadOptions,
    Ranking,
    RerankRequest,
    Usage,
)
from hutch.core.names import ModelName
from hutch.metrics.counters import Counters


class MeasuredBackend:
    """Hands everything on to `backend`, and what is to be counted to `counters`."""

    def __init__(self, backend: Backend, counters: Counters) -> None:
        self._backend = backend
        self._counters = counters
        self.tokenizer = backend.tokenizer

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """Stream the answer."""
        clock = time.monotonic
        began = last = clock()
        later = None
        end, usage, pieces = "cancelled", None, 0  # whoever leaves gets no usage: what came is counted
        try:
            async with aclosing(self._backend.generate(request, who)) as chunks:
                async for chunk in chunks:
                    if chunk.finish_reason:
                        end, usage = chunk.finish_reason, chunk.usage
                    else:
                        pieces += 1
                        before, last = last, clock()
                        if later is not None:
                            later.observe(last - before)
                        else:
                            later = self._counters.first_token(
                                self._counters.label(request.model), last - began
                            )
                    yield chunk
        except Exception:
            end = "error"
            raise
        finally:
            usage = usage or Usage(completion_tokens=pieces)
            self._counters.answer_ended(self._counters.label(request.model), end, clock() - began, usage)

    async def render(self, request: GenerateRequest, *, opens_answer: bool = True) -> str:
        """The text that the model would be sent."""
        return await self._backend.render(request, opens_answer=opens_answer)

    async def embed(self, request: EmbedRequest, who: Principal) -> Embeddings:
        """Turn texts into vectors."""
        found = await self._backend.embed(request, who)
        self._counters.read(self._counters.label(request.model), "embed", found.prompt_tokens)
        return found

    async def rerank(self, request: RerankRequest, who: Principal) -> Ranking:
        """Put documents in the order in which they answer a query."""
        found = await self._backend.rerank(request, who)
        self._counters.read(self._counters.label(request.model), "rerank", found.prompt_tokens)
        return found

    async def load(self, name: ModelName, options: LoadOptions, keep_alive_s: float | None) -> float:
        """Make a model ready."""
        return await self._backend.load(name, options, keep_alive_s)

    async def unload(self, name: ModelName) -> bool:
        """Let a model go."""
        return await self._backend.unload(name)

    def running(self) -> Sequence[Running]:
        """What is loaded now."""
        return self._backend.running()

    async def held_tokens(self) -> Mapping[ModelName, int]:
        """How full the caches are."""
        return await self._backend.held_tokens()

    async def close(self) -> None:
        """End every worker."""
        await self._backend.close()
