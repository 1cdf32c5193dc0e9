"""Several answers to one request of OpenAI's: merged as they come, each with its index, and what all of them took."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from hutch.api.openai_wire import OPENAI, JsonDict, SampledBody
from hutch.api.stream import SSE, Stream, with_first
from hutch.core.access import Principal
from hutch.core.backend import Backend
from hutch.core.chat import Chunk, GenerateRequest, Usage
from hutch.core.errors import HutchError

_AT_ONCE = 8  # prompts of one request that are in work together
_MAX_WAITING = 64  # chunks that a slow client may leave lying
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Shape(ABC):
    """How a kind of completion is written. `id` and `created` are the same in every chunk of a stream."""

    id: str
    created: int
    model: str

    def head(self, kind: str) -> JsonDict:
        """What every object begins with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_hutch",
        }

    @abstractmethod
    def first(self, index: int) -> JsonDict | None:
        """What a choice begins with in a stream, if anything."""

    @abstractmethod
    def piece(self, chunk: Chunk) -> JsonDict:
        """A chunk of a stream."""

    @abstractmethod
    def usage(self, usage: Usage) -> JsonDict:
        """The chunk of a stream that tells what it took."""

    @abstractmethod
    def whole(self, choices: Sequence[Sequence[Chunk]], usage: Usage) -> JsonDict:
        """The reply that is no stream, from the chunks of each choice."""


class Tally:
    """What the choices took in all. `num` of them answer one prompt, which counts once."""

    def __init__(self, num: int) -> None:
        self._num = num
        self._by_prompt: dict[int, Usage] = {}

    def add(self, chunk: Chunk) -> None:
        """Count a choice's last chunk."""
        if chunk.usage is None:
            return
        before = self._by_prompt.get(chunk.choice // self._num)
        self._by_prompt[chunk.choice // self._num] = (
            replace(before, completion_tokens=before.completion_tokens + chunk.usage.completion_tokens)
            if before
            else chunk.usage
        )

    def total(self) -> Usage:
        """All that was counted."""
        counted = self._by_prompt.values()
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in counted),
            cached_tokens=sum(usage.cached_tokens for usage in counted),
            completion_tokens=sum(usage.completion_tokens for usage in counted),
        )


async def answered(
    backend: Backend,
    who: Principal,
    requests: Sequence[GenerateRequest],
    body: SampledBody,
    shape: Shape,
    *,
    headers: dict[str, str],
) -> Response:
    """The reply to a body that stands for these requests, each of them for the same number of choices."""
    num = requests[0].num_choices
    chunks = merged(backend, who, requests)
    if body.stream:
        events = _events(await with_first(chunks), shape, num, wants_usage=body.wants_usage)
        return Stream(events, SSE, _error_event, headers)
    tally, choices = Tally(num), [list[Chunk]() for _ in range(len(requests) * num)]
    async with aclosing(chunks):
        async for chunk in chunks:
            choices[chunk.choice].append(chunk)
            tally.add(chunk)
    kept = [
        one
        for first in range(0, len(choices), num)
        for one in best(choices[first : first + num], body.num_choices)
    ]
    return JSONResponse(shape.whole(kept, tally.total()), headers=headers)


def best(choices: Sequence[Sequence[Chunk]], num: int) -> list[list[Chunk]]:
    """The choices whose tokens were the likeliest, where more were written than are wanted. Each has its new index."""
    kept = sorted(choices, key=_likelihood, reverse=True)[:num] if len(choices) > num else choices
    return [list(chunks) for chunks in kept]


def _likelihood(chunks: Sequence[Chunk]) -> float:
    """The mean log-probability of its tokens."""
    told = [entry.logprob for chunk in chunks for entry in chunk.logprobs]
    return sum(told) / len(told) if told else 0.0


def merged(
    backend: Backend, who: Principal, requests: Sequence[GenerateRequest]
) -> AsyncGenerator[Chunk, None]:
    """The chunks of all requests as they come; those of a later request have later choices. Closing it ends them all."""
    return backend.generate(requests[0], who) if len(requests) == 1 else _merged(backend, who, requests)


async def _merged(
    backend: Backend, who: Principal, requests: Sequence[GenerateRequest]
) -> AsyncGenerator[Chunk, None]:
    news: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(_MAX_WAITING)
    waiting = iter(enumerate(requests))
    workers = [
        asyncio.create_task(_work(backend, who, waiting, news)) for _ in range(min(_AT_ONCE, len(requests)))
    ]
    try:
        num_working = len(workers)
        while num_working:
            match await news.get():
                case None:
                    num_working -= 1
                case Chunk() as chunk:
                    yield chunk
                case BaseException() as error:
                    raise error
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _work(
    backend: Backend,
    who: Principal,
    waiting: Iterator[tuple[int, GenerateRequest]],
    news: asyncio.Queue[Chunk | BaseException | None],
) -> None:
    """Answer one request after another, until none waits."""
    try:
        for index, request in waiting:
            offset = index * request.num_choices
            async with aclosing(backend.generate(request, who)) as chunks:
                async for chunk in chunks:
                    await news.put(replace(chunk, choice=offset + chunk.choice) if offset else chunk)
    except Exception as error:  # noqa: BLE001  it is raised again where the chunks are read
        await news.put(error)
    else:
        await news.put(None)


async def _events(
    chunks: AsyncGenerator[Chunk, None], shape: Shape, num: int, *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Server-sent events; each choice's first goes out with its first token, the last of all is `[DONE]`."""
    no_usage: JsonDict = {"usage": None} if wants_usage else {}
    tally, begun = Tally(num), set[int]()
    async with aclosing(chunks):
        async for chunk in chunks:
            tally.add(chunk)
            if (
                chunk.text
                or chunk.thinking
                or chunk.tool_calls
                or chunk.logprobs
                or chunk.finish_reason
                or chunk.echo
            ):
                event = _event(shape.piece(chunk) | no_usage)
                if chunk.choice not in begun:
                    begun.add(chunk.choice)
                    first = shape.first(chunk.choice)
                    event = (_event(first | no_usage) if first else b"") + event
                yield event
    if wants_usage:
        yield _event(shape.usage(tally.total()))
    yield _DONE


def _event(data: JsonDict) -> bytes:
    return b"data: " + to_json(data) + b"\n\n"


def _error_event(error: HutchError) -> bytes:
    return _event(OPENAI.error(error))
