"""The backend of this machine: a model in use, a slot of it, a stream of chunks."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from hutch.core.access import Principal
from hutch.core.backend import Running
from hutch.core.chat import Chunk, Embeddings, EmbedRequest, GenerateRequest, LoadOptions, Message, Usage
from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.core.names import ModelName
from hutch.engines.client import WorkerClient, WorkerGone
from hutch.engines.wire import CHAT_PATH, RENDER_PATH, chat_chunk, completion_chunk, with_pictures
from hutch.prompt.answer import Reader
from hutch.runtime.conversation import Job, conversation, job_for, shortened, text_job
from hutch.runtime.embedding import embed_texts, word_piece
from hutch.runtime.loaded import LoadedModel
from hutch.runtime.pictures import readable
from hutch.runtime.scheduler import Scheduler

_MAX_SHORTENINGS = 8
_MAX_CONTEXTS = 10  # how often an answer may fill the context anew, where that is shifted


class LocalBackend:
    """Answers with workers of its own, one for each loaded model."""

    def __init__(self, scheduler: Scheduler, load_timeout_s: float) -> None:
        self._scheduler = scheduler
        self._load_timeout_s = load_timeout_s

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """Stream the answer; the conversation is shortened first where it does not fit and may be."""
        began = time.monotonic()
        async with self._scheduler.use(request.model, request.load, request.keep_alive_s) as (loaded, load_s):
            messages = await _told(request, loaded)
            for attempt in range(_MAX_SHORTENINGS + 1):
                try:
                    async with aclosing(self._answer(loaded, request, who, messages)) as chunks:
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

    async def render(self, request: GenerateRequest) -> str:
        """The prompt that would be sent to the model."""
        async with self._scheduler.use(request.model, request.load, request.keep_alive_s) as (loaded, _):
            job = job_for(request, loaded.voice, await _told(request, loaded))
            worker = await loaded.ready(self._load_timeout_s)
            return await _rendered(worker.client, job)

    async def embed(self, request: EmbedRequest, who: Principal) -> Embeddings:
        """Turn texts into vectors, in one call of the worker."""
        began = time.monotonic()
        async with self._scheduler.use(request.model, request.load, request.keep_alive_s) as (loaded, load_s):
            if not loaded.voice.facts.can_embed:
                raise BadInput(
                    f'"{loaded.voice.model.name.short}" does not support embeddings',
                    hint="Use a model that was made for them: this one's graph gives no hidden states.",
                )
            vectors, tokens = await self._embed(loaded, request, who)
            return Embeddings(vectors, tokens, load_s, time.monotonic() - began)

    async def load(self, name: ModelName, options: LoadOptions, keep_alive_s: float | None) -> float:
        """Make a model ready; returns the seconds that loading took, 0 where it was loaded."""
        async with self._scheduler.use(name, options, keep_alive_s) as (loaded, load_s):
            await loaded.ready(self._load_timeout_s)
            return load_s

    async def unload(self, name: ModelName) -> bool:
        """Let a model go at once, or as soon as its requests are done."""
        return await self._scheduler.unload(name)

    def running(self) -> Sequence[Running]:
        """What is loaded, in no order."""
        return self._scheduler.running()

    async def close(self) -> None:
        """End every worker."""
        await self._scheduler.close()

    async def _embed(
        self, loaded: LoadedModel, request: EmbedRequest, who: Principal
    ) -> tuple[tuple[tuple[float, ...], ...], int]:
        async with loaded.slots.lease(who, ""):
            for last_try in (False, True):
                worker = await loaded.ready(self._load_timeout_s)
                try:
                    plan = worker.plan
                    is_gguf = plan.engine == "llama.cpp"
                    words = await asyncio.to_thread(word_piece, plan.weights) if is_gguf else None
                    return await embed_texts(
                        worker.client, request, min(plan.num_ctx, plan.num_ubatch), words
                    )
                except WorkerGone:
                    if last_try:
                        raise
                    await loaded.lost(worker)
                finally:
                    loaded.slots.forget()  # the engine puts the texts into whatever slots are free
        raise AssertionError("the last try returns or raises")

    async def _answer(
        self, loaded: LoadedModel, request: GenerateRequest, who: Principal, messages: Sequence[Message]
    ) -> AsyncGenerator[Chunk, None]:
        job = job_for(request, loaded.voice, messages)
        async with loaded.slots.lease(who, job.prompt) as lease:
            for last_try in (False, True):
                worker = await loaded.ready(self._load_timeout_s)
                has_answered = False
                try:
                    if request.context or job.path == RENDER_PATH:
                        text = await _rendered(worker.client, job)
                        job = text_job(request, loaded.voice, text, job.marks)
                    reuse = lease.reuse and not last_try
                    body = {
                        **await _pictured(worker.client, job),
                        "id_slot": lease.index,
                        "cache_prompt": reuse,
                    }
                    if worker.plan.context_shift and body["n_predict"] < 0:
                        body["n_predict"] = _MAX_CONTEXTS * worker.plan.num_ctx  # every answer ends
                    async with aclosing(_chunks(worker.client, replace(job, body=body), request)) as chunks:
                        async for chunk in chunks:
                            has_answered = True
                            yield chunk
                except WorkerGone:
                    if last_try or has_answered:
                        raise
                    await loaded.lost(worker)  # it died before it said anything: its successor answers
                else:
                    return


async def _told(request: GenerateRequest, loaded: LoadedModel) -> Sequence[Message]:
    """The whole conversation, with what the model knows of its documents."""
    messages: Sequence[Message] = conversation(request, loaded.voice.model)
    if loaded.voice.model.projectors:  # else they are refused, unopened
        messages = await readable(messages)
    if request.messages is None or (knowledge := loaded.voice.knowledge) is None:
        return messages
    return await asyncio.to_thread(knowledge.told_to, messages, loaded.plan.num_ctx, len(request.context))


async def _chunks(client: WorkerClient, job: Job, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
    """The worker's events as chunks; the last one has the finish reason, the usage, and the context if wanted."""
    is_chat = job.path == CHAT_PATH
    last = Chunk()
    said: list[str] = []
    reader = Reader(job.marks, job.prompt) if job.marks and not is_chat else None
    async with aclosing(client.stream(job.path, job.body)) as events:
        async for event in events:
            read = chat_chunk if is_chat else completion_chunk
            chunk = read(event, request.top_logprobs)
            if job.body.get("n_predict") == 0:
                chunk = _nothing_of(chunk)
            said.append(chunk.text)
            if reader is not None:
                chunk = reader.end(chunk) if chunk.finish_reason else reader.feed(chunk)
                if chunk.finish_reason and (chunk.text or chunk.thinking or chunk.tool_calls):
                    yield replace(chunk, finish_reason=None, usage=None)
                    chunk = Chunk(finish_reason=chunk.finish_reason, usage=chunk.usage)
            if chunk.finish_reason or chunk.usage:
                reason, usage = chunk.finish_reason or last.finish_reason, chunk.usage or last.usage
                last = replace(chunk, finish_reason=reason, usage=usage, text=last.text + chunk.text)
            elif chunk.text or chunk.thinking or chunk.tool_calls or chunk.logprobs:
                yield chunk
    if last.finish_reason is None:
        raise EngineFailed("the model's worker ended before the answer did", hint="Send the request again.")
    if request.want_context:
        text = await _rendered(client, job) + "".join(said)
        reply = await client.call("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        last = replace(last, context=(*request.context, *reply["tokens"]))
    yield replace(last, usage=last.usage or Usage())


async def _pictured(client: WorkerClient, job: Job) -> Mapping[str, Any]:
    """The body of a job, with its images where they belong. Each worker has a mark of its own for them."""
    if not job.images:
        return job.body
    marker = (await client.get("/props"))["media_marker"]
    return with_pictures(job.body, job.images, job.mark, marker)


def _nothing_of(chunk: Chunk) -> Chunk:
    """A chunk of an answer of no tokens: the engine writes one also where none was asked for."""
    usage = chunk.usage and replace(chunk.usage, completion_tokens=0, decode_s=0.0)
    return Chunk(finish_reason=chunk.finish_reason and "length", usage=usage)


async def _rendered(client: WorkerClient, job: Job) -> str:
    """The prompt of a job as text."""
    if "messages" in job.body:
        names = ("messages", "tools", "chat_template_kwargs")
        body = {name: job.body[name] for name in names if name in job.body}
        reply = await client.call(RENDER_PATH, body)
        return str(reply["prompt"])
    return job.prompt
