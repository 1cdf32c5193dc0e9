"""The backend of this machine: a model in use, a slot of it, a stream of chunks."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeVar

from hutch.core.access import ANONYMOUS, Principal
from hutch.core.backend import Running
from hutch.core.chat import (
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    LoadOptions,
    Message,
    Ranking,
    RerankRequest,
)
from hutch.core.errors import ContextExceeded, Unsuited
from hutch.core.names import ModelName
from hutch.core.options import split_options
from hutch.runtime.answering import rendered
from hutch.runtime.conversation import closed_job, conversation, job_for, shortened
from hutch.runtime.embedding import BatchExceeded, embed_texts, word_piece
from hutch.runtime.held import held_tokens
from hutch.runtime.launch import batch_for, max_embedded
from hutch.runtime.loaded import LoadedModel
from hutch.runtime.meaning import Meaning
from hutch.runtime.pictures import readable
from hutch.runtime.reranking import check_ranks, rank_documents
from hutch.runtime.scheduler import Scheduler
from hutch.runtime.schemas import suited, usable
from hutch.runtime.tokenizing import WorkerTokenizer
from hutch.runtime.turn import answer
from hutch.runtime.worker import Worker

_Reply = TypeVar("_Reply")
_MAX_SHORTENINGS = 8


class LocalBackend:
    """Answers with workers of its own, one for each loaded model."""

    def __init__(self, scheduler: Scheduler, meaning: Meaning, load_timeout_s: float) -> None:
        self._scheduler = scheduler
        self._meaning = meaning
        self._load_timeout_s = load_timeout_s
        self.tokenizer = WorkerTokenizer(scheduler, load_timeout_s)

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """Stream the answer; the conversation is shortened first where it does not fit and may be."""
        began = time.monotonic()
        if request.response_format is not None:
            request = replace(request, response_format=await usable(request.response_format))
        async with self._scheduler.use(request.model, request.load, request.keep_alive_s) as (loaded, load_s):
            request = replace(request, response_format=suited(request.response_format, loaded.plan))
            messages = await self._told(request, loaded, who)
            for attempt in range(_MAX_SHORTENINGS + 1):
                try:
                    async with aclosing(
                        answer(loaded, request, who, messages, self._load_timeout_s)
                    ) as chunks:
                        async for chunk in chunks:
                            if chunk.usage:
                                usage = replace(chunk.usage, load_s=load_s, total_s=time.monotonic() - began)
                                chunk = replace(chunk, usage=usage)  # noqa: PLW2901
                            yield chunk
                except ContextExceeded as error:  # raised before any chunk
                    shorter = (
                        shortened(messages, error.prompt_tokens, error.num_ctx) if request.truncate else None
                    )
                    if shorter is None or attempt == _MAX_SHORTENINGS:
                        raise
                    messages = shorter
                else:
                    return

    async def render(self, request: GenerateRequest, *, opens_answer: bool = True) -> str:
        """The prompt that would be sent to the model."""
        async with self._scheduler.use(request.model, request.load, request.keep_alive_s) as (loaded, _):
            messages = await self._told(request, loaded, ANONYMOUS)
            job = (job_for if opens_answer else closed_job)(request, loaded.voice, messages)
            worker = await loaded.ready(self._load_timeout_s)
            return await rendered(worker.client, job)

    async def embed(self, request: EmbedRequest, who: Principal, *, waits: bool = True) -> Embeddings:
        """Turn texts into vectors, in one call of the worker. Raises Busy where the model must wait and may not.

        A model that was not made for it is loaded with a larger batch where a text needs that, and keeps it.
        """
        began = time.monotonic()
        try:
            result = await self._embedded(request, who, waits=waits)
        except BatchExceeded as error:
            load = replace(request.load, num_batch=batch_for(error.num_tokens))
            result = await self._embedded(replace(request, load=load), who, waits=waits)
        return replace(result, total_s=time.monotonic() - began)

    async def _embedded(self, request: EmbedRequest, who: Principal, *, waits: bool) -> Embeddings:
        began = time.monotonic()
        use = self._scheduler.use(request.model, request.load, request.keep_alive_s, waits=waits)
        async with use as (loaded, load_s):
            if loaded.voice.facts.is_reranker:
                raise Unsuited(
                    f'"{loaded.voice.model.name.short}" does not support embed', hint="Ask it at /v1/rerank."
                )
            if not loaded.voice.facts.can_embed:
                raise Unsuited(
                    f'"{loaded.voice.model.name.short}" does not support embeddings',
                    hint="Use a model that was made for them: this one's graph gives no hidden states.",
                )

            said = request.load.over(split_options(loaded.voice.model.parameters)[1])

            async def ask(worker: Worker) -> tuple[tuple[tuple[float, ...], ...], int]:
                plan = worker.plan
                words = (
                    await asyncio.to_thread(word_piece, plan.weights)
                    if not loaded.voice.model.files
                    else None
                )
                # A request may ask for less than is loaded, and the engine rounds what is loaded up.
                limit = min(plan.num_ctx, said.num_ctx or plan.num_ctx)
                longest = min(limit, max(plan.num_ubatch, max_embedded(plan.num_ctx)))
                return await embed_texts(worker.client, request, longest, words, num_ubatch=plan.num_ubatch)

            vectors, tokens = await self._one_call(loaded, who, ask)
            return Embeddings(vectors, tokens, load_s, time.monotonic() - began)

    async def rerank(self, request: RerankRequest, who: Principal) -> Ranking:
        """Put documents in the order in which they answer a query, in one call of the worker."""
        began = time.monotonic()
        async with self._scheduler.use(request.model, request.load, request.keep_alive_s) as (loaded, load_s):
            check_ranks(loaded.voice.model.name.short, is_reranker=loaded.voice.facts.is_reranker)
            plan = loaded.plan
            max_tokens = None if plan.engine == "onnx" else min(plan.num_ctx, plan.num_ubatch)
            results, tokens = await self._one_call(
                loaded, who, lambda worker: rank_documents(worker.client, request, max_tokens)
            )
            return Ranking(results, tokens, load_s, time.monotonic() - began)

    async def load(self, name: ModelName, options: LoadOptions, keep_alive_s: float | None) -> float:
        """Make a model ready; returns the seconds that this took."""
        async with self._scheduler.use(name, options, keep_alive_s) as (loaded, load_s):
            await loaded.ready(self._load_timeout_s)
            return load_s

    async def unload(self, name: ModelName) -> bool:
        """Let a model go at once, or as soon as its requests are done."""
        return await self._scheduler.unload(name)

    def running(self) -> Sequence[Running]:
        """What is loaded, in no order."""
        return self._scheduler.running()

    async def held_tokens(self) -> Mapping[ModelName, int]:
        """How full the caches of the models are whose workers answer at once."""
        return await held_tokens(self._scheduler.loaded())

    async def close(self) -> None:
        """End every worker."""
        await self._meaning.close()
        await self._scheduler.close()

    async def _told(self, request: GenerateRequest, loaded: LoadedModel, who: Principal) -> Sequence[Message]:
        """The whole conversation, with what the model knows of its documents."""
        messages: Sequence[Message] = conversation(request, loaded.voice.model)
        if loaded.voice.model.projectors or loaded.voice.facts.sees:  # else they are refused, unopened
            messages = await readable(messages, loaded.plan.engine)
        if request.messages is None or (knowledge := loaded.voice.knowledge) is None:
            return messages
        limits = loaded.plan.num_ctx, len(request.context)
        alike: Sequence[int] = ()
        if question := await asyncio.to_thread(knowledge.question, messages, *limits):
            # This model is in use: to wait until another has room could be to wait for oneself.
            embed = partial(self.embed, who=who, waits=False)
            alike = await self._meaning.alike(knowledge, question, embed)
        return await asyncio.to_thread(knowledge.told_to, messages, *limits, alike)

    async def _one_call(
        self, loaded: LoadedModel, who: Principal, ask: Callable[[Worker], Awaitable[_Reply]]
    ) -> _Reply:
        async with loaded.slots.lease(who, ""):
            try:
                return await loaded.asked(ask, self._load_timeout_s)
            finally:
                loaded.slots.forget()  # the engine puts the texts into whatever slots are free
