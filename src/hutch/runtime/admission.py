"""A backend that lets a principal have what its allowance holds, and keeps the book of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

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
from hutch.runtime.ledger import Ledger
from hutch.runtime.terms import TermsTable

_TOKEN_CHARS = 4.0  # about what a token stands for
_ANSWER_TOKENS = 256  # set aside for an answer of which the length is not said


class AdmittingBackend(BackendAround):
    """Hands everything on to `backend`; what takes tokens is counted in the ledger, or refused by it."""

    def __init__(self, backend: Backend, ledger: Ledger, terms: TermsTable) -> None:
        super().__init__(backend)
        self._ledger = ledger
        self._terms = terms

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """Stream the answer. Raises OverLimit."""
        with self._ledger.spending(who, self._loaded_name(request.model), _estimate(request)) as spending:
            async with aclosing(self._backend.generate(request, who)) as chunks:
                async for chunk in chunks:
                    if chunk.usage:
                        spending.ended(chunk.usage)
                    else:
                        spending.piece()
                    yield chunk

    async def embed(self, request: EmbedRequest, who: Principal) -> Embeddings:
        """Turn texts into vectors. Raises OverLimit."""
        with self._ledger.spending(who, request.model, sum(map(_tokens, request.texts))) as spending:
            found = await self._backend.embed(request, who)
            spending.ended(Usage(prompt_tokens=found.prompt_tokens))
            return found

    async def rerank(self, request: RerankRequest, who: Principal) -> Ranking:
        """Put documents in the order in which they answer a query. Raises OverLimit."""
        estimate = sum(map(_tokens, request.documents)) + len(request.documents) * _tokens(request.query)
        with self._ledger.spending(who, request.model, estimate) as spending:
            found = await self._backend.rerank(request, who)
            spending.ended(Usage(prompt_tokens=found.prompt_tokens))
            return found

    def _loaded_name(self, name: ModelName) -> ModelName:
        """The model that answers: of a deployed one it may be a variant."""
        return self._terms.of(name).variant or name


def _estimate(request: GenerateRequest) -> float:
    """How many tokens a request may take, about."""
    asked = request.sampling.max_tokens
    answer = _ANSWER_TOKENS if asked is None or asked < 0 else asked
    messages = sum(_tokens(message.content) for message in request.messages or ())
    return messages + _tokens(request.prompt or "") + len(request.context) + answer * request.num_choices


def _tokens(text: str | Sequence[int]) -> float:
    return len(text) / _TOKEN_CHARS if isinstance(text, str) else len(text)
