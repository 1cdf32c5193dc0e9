"""What a worker says to a job, as chunks: in one call, or in two where thoughts come before an answer in a format."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from hutch.core.chat import Chunk, GenerateRequest, Usage
from hutch.core.errors import EngineFailed
from hutch.engines.client import WorkerClient
from hutch.engines.wire import CHAT_PATH, RENDER_PATH, chat_chunk, choice_of, completion_chunk, with_pictures
from hutch.prompt.answer import Marks, Reader
from hutch.runtime.conversation import Job, Voice, text_job


def answered(
    client: WorkerClient, job: Job, request: GenerateRequest, voice: Voice
) -> AsyncGenerator[Chunk, None]:
    """The chunks that answer a job."""
    if job.thoughts is None:
        return chunks_of(client, job, request)
    return _thought_over(client, job, request, voice, job.thoughts)


async def _thought_over(
    client: WorkerClient, job: Job, request: GenerateRequest, voice: Voice, tags: tuple[str, str]
) -> AsyncGenerator[Chunk, None]:
    """Thoughts, and then an answer in a format.

    A format holds from a call's first token on. So one call brings the thoughts, and another one goes on behind them in
    the format.
    """
    used, is_done = Usage(), False
    reader = Reader(Marks(tags), job.prompt)
    said = ""
    async with aclosing(chunks_of(client, _thinking(job, tags[1]), request)) as chunks:
        async for chunk in chunks:
            said += chunk.text
            told = reader.end(chunk) if chunk.finish_reason else reader.feed(chunk)
            if told.text:  # an answer at once, and not in the format
                said = ""
                break
            used, is_done = chunk.usage or used, chunk.finish_reason == "length"
            if told.thinking or told.logprobs:
                yield Chunk(thinking=told.thinking, logprobs=told.logprobs)
            if is_done:
                yield Chunk(finish_reason="length", usage=used, context=chunk.context)
    if is_done:
        return
    job = _formatted(job, said, used, request, voice)
    job = replace(job, body=await pictured(client, job))
    async with aclosing(chunks_of(client, job, request)) as chunks:
        async for chunk in chunks:
            yield replace(chunk, usage=chunk.usage and _sum(used, chunk.usage))


def _thinking(job: Job, closing: str) -> Job:
    """The call that ends where the thoughts do."""
    return replace(job, body={**job.body, "stop": [*job.body.get("stop", ()), closing]}, marks=None)


def _formatted(job: Job, said: str, used: Usage, request: GenerateRequest, voice: Voice) -> Job:
    """The call that goes on behind what was thought."""
    opening, closing = job.thoughts or ("", "")
    text = job.prompt
    if said or text.rstrip().endswith(opening):
        text += f"{said}{closing}\n\n"
    left = job.body["n_predict"]
    body = {
        **text_job(request, voice, text, job.marks).body,
        "id_slot": job.body["id_slot"],
        "cache_prompt": True,
        "repeat_last_n": job.body["repeat_last_n"],
        "n_predict": max(0, left - used.completion_tokens) if left >= 0 else left,
    }
    return replace(job, body=body, prompt=text)


def _sum(first: Usage, second: Usage) -> Usage:
    """What two calls took, of which the second's prompt was the first's prompt and answer."""
    if not first.prompt_tokens:
        return second
    return replace(
        first,
        completion_tokens=first.completion_tokens + second.completion_tokens,
        prompt_s=first.prompt_s + second.prompt_s,
        decode_s=first.decode_s + second.decode_s,
    )


async def chunks_of(client: WorkerClient, job: Job, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
    """The worker's events as chunks; each choice's last one has the finish reason, the usage, and the context if wanted."""
    read = chat_chunk if job.path == CHAT_PATH else completion_chunk
    choices = {index: _Choice(job, index) for index in range(job.body.get("n_cmpl", 1))}
    index = 0
    async with aclosing(client.stream(job.path, job.body)) as events:
        async for event in events:
            told = choice_of(event) if len(choices) > 1 else None
            index = index if told is None else told
            for chunk in choices[index].pieces(read(event, request.top_logprobs)):
                yield chunk
    for choice in choices.values():
        last = choice.last
        if last.finish_reason is None:
            raise EngineFailed(
                "the model's worker ended before the answer did", hint="Send the request again."
            )
        if request.want_context:
            text = await rendered(client, job) + "".join(choice.said)
            last = replace(last, context=(*request.context, *await tokens_of(client, text)))
        yield replace(last, usage=last.usage or Usage(), choice=choice.index)


class _Choice:
    """One of the answers while it comes in. `last` gathers what its last chunk will say."""

    def __init__(self, job: Job, index: int) -> None:
        self.index = index
        self.last = Chunk()
        self.said: list[str] = []
        self._wants_nothing = job.body.get("n_predict") == 0
        is_chat = job.path == CHAT_PATH
        self._reader = Reader(job.marks, job.prompt) if job.marks and not is_chat else None

    def pieces(self, chunk: Chunk) -> Iterator[Chunk]:
        """What can be told now."""
        if self.index:
            chunk = replace(chunk, choice=self.index)
        if self._wants_nothing:
            chunk = _nothing_of(chunk)
        self.said.append(chunk.text)
        if self._reader is not None:
            chunk = self._reader.end(chunk) if chunk.finish_reason else self._reader.feed(chunk)
            if chunk.finish_reason and (chunk.text or chunk.thinking or chunk.tool_calls):
                yield replace(chunk, finish_reason=None, stopped_by="", usage=None)
                chunk = replace(chunk, text="", thinking="", tool_calls=(), logprobs=())
        last = self.last
        if chunk.finish_reason or chunk.usage:
            reason, usage = chunk.finish_reason or last.finish_reason, chunk.usage or last.usage
            stopped_by = chunk.stopped_by or last.stopped_by
            text = last.text + chunk.text
            self.last = replace(chunk, finish_reason=reason, stopped_by=stopped_by, usage=usage, text=text)
        elif chunk.text or chunk.thinking or chunk.tool_calls or chunk.logprobs:
            yield chunk


async def pictured(client: WorkerClient, job: Job) -> Mapping[str, Any]:
    """The body of a job, with its images where they belong. Each worker has a mark of its own for them."""
    if not job.images:
        return job.body
    marker = (await client.get("/props"))["media_marker"]
    return with_pictures(job.body, job.images, job.mark, marker)


def _nothing_of(chunk: Chunk) -> Chunk:
    """A chunk of an answer of no tokens: the engine writes one also where none was asked for."""
    usage = chunk.usage and replace(chunk.usage, completion_tokens=0, decode_s=0.0)
    return Chunk(finish_reason=chunk.finish_reason and "length", usage=usage)


async def tokens_of(client: WorkerClient, text: str) -> tuple[int, ...]:
    """The tokens of a text as a prompt has them."""
    reply = await client.call("/tokenize", {"content": text, "add_special": True, "parse_special": True})
    return tuple(reply["tokens"])


async def rendered(client: WorkerClient, job: Job) -> str:
    """The prompt of a job as text."""
    if "messages" in job.body:
        names = ("messages", "tools", "chat_template_kwargs", "add_generation_prompt")
        body = {name: job.body[name] for name in names if name in job.body}
        reply = await client.call(RENDER_PATH, body)
        return str(reply["prompt"])
    return job.prompt
