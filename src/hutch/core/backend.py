"""The waist of the server: answers by model name."""

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from hutch.core.access import Principal
from hutch.core.chat import (
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    LoadOptions,
    Ranking,
    RerankRequest,
)
from hutch.core.models import StoredModel
from hutch.core.names import ModelName
from hutch.core.tokens import Tokenizer


class WorkerState(enum.StrEnum):
    """The life of a worker process."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Running:
    """A loaded model. `expires_at` is None where it stays for ever."""

    model: StoredModel
    state: WorkerState
    engine: str
    pid: int | None
    socket: str
    num_ctx: int
    num_slots: int
    busy_slots: int
    queued: int
    memory_bytes: int
    expires_at: datetime | None
    hardware: Mapping[str, Any] | None = (
        None  # of an ONNX model: what runs it, and what was stepped down from
    )
    kv_cache_type: str = ""  # of a GGUF model: how the engine keeps contexts
    tuned: Mapping[str, Any] | None = None  # what was launched as `hutch tune` found it best
    less: tuple[str, ...] = ()  # what it got less of, because memory had no room


class Backend(Protocol):
    """Answers by model name. This server's own workers, a cluster, or a fake."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Texts as tokens, by the same names."""

    def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """Stream the answer. Raises before the first chunk where it can; closing the iterator cancels."""

    async def render(self, request: GenerateRequest, *, opens_answer: bool = True) -> str:
        """The text that the model would be sent for this request. Nothing is generated.

        Without `opens_answer` it ends behind the last message, where the template can do that. Raises NotBuilt.
        """

    async def embed(self, request: EmbedRequest, who: Principal) -> Embeddings:
        """Turn texts into vectors."""

    async def rerank(self, request: RerankRequest, who: Principal) -> Ranking:
        """Put documents in the order in which they answer a query."""

    async def load(self, name: ModelName, options: LoadOptions, keep_alive_s: float | None) -> float:
        """Make a model ready, and say how many seconds that took."""

    async def unload(self, name: ModelName) -> bool:
        """Let a model go once its requests are done. Says whether it was loaded."""

    def running(self) -> Sequence[Running]:
        """What is loaded now."""

    async def held_tokens(self) -> Mapping[ModelName, int]:
        """How many tokens each loaded model's key-value cache holds; without those whose worker does not answer at once."""

    async def close(self) -> None:
        """End every worker."""


class BackendAround:
    """What a backend around another one hands on unseen."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.tokenizer = backend.tokenizer

    async def render(self, request: GenerateRequest, *, opens_answer: bool = True) -> str:
        """The text that the model would be sent."""
        return await self._backend.render(request, opens_answer=opens_answer)

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
