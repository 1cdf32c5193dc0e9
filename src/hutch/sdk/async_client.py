"""`hutch.AsyncClient`: a server, asked from a program that does other things meanwhile. `Client`, with `await`."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

import httpx2

from hutch.core.errors import HutchError, NotFound, Unreachable
from hutch.sdk import calls, results, settings
from hutch.sdk.blobs import Source, blocks, digest_of, size_bytes_of
from hutch.sdk.calls import Call, StreamCall
from hutch.sdk.failures import TooSlow, TurnedAway
from hutch.sdk.link import Body, Link, Reading, is_success
from hutch.sdk.retries import Retries
from hutch.sdk.settings import Message

T = TypeVar("T")


class AsyncStream(Generic[T]):
    """An answer that comes in pieces. Closing it, or leaving its `async with`, stops the server's work on it.

    Raises where the server tells an error, and BrokenOff where the answer ends before its end.
    """

    def __init__(self, response: httpx2.Response, call: StreamCall[T], link: Link) -> None:
        self._response = response
        self._pieces = self._read(Reading(call), link)

    async def _read(self, reading: Reading[T], link: Link) -> AsyncGenerator[T, None]:
        async with aclosing(self._response):
            with link.told():
                async for data in self._response.aiter_bytes():
                    for piece in reading.feed(data):
                        yield piece
                for piece in reading.end():
                    yield piece

    def __aiter__(self) -> Self:
        """The pieces, once."""
        return self

    async def __anext__(self) -> T:
        """The next piece."""
        return await anext(self._pieces)

    async def close(self) -> None:
        """Leave. What comes after is not read."""
        await self._pieces.aclose()
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        """Close it at the end of the `async with`."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()


class _Sender:
    """Sends calls."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float | None = 600.0,
        retries: Retries | None = None,
    ) -> None:
        """Know a server: `base_url`, else HUTCH_HOST, else OLLAMA_HOST, else this machine. Raises BadInput.

        `timeout_s` is how long the server may be silent, None without end; `retries` are for when it is away or busy.
        """
        self._link = Link.to(base_url, api_key, timeout_s, retries)
        self._http = httpx2.AsyncClient(**self._link.library_settings())

    def with_timeout(self, timeout_s: float | None) -> Self:
        """The same client with another patience; both share their connections."""
        other = copy.copy(self)
        other._link = self._link.patient(timeout_s)  # noqa: SLF001  # of its own class
        return other

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Close it at the end of the `async with`."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    async def _ask(self, call: Call[T], source: Source | None = None) -> T:
        response = await self._open(call, source)
        return (await self._body(response)).result(call, response)

    async def _stream(self, call: StreamCall[T]) -> AsyncStream[T]:
        return AsyncStream(await self._open(call), call, self._link)

    async def _open(self, call: Call[Any], source: Source | None = None) -> httpx2.Response:
        """Send until the server takes it; the answer's head, which is one of success."""
        attempt = 0
        while True:
            try:
                return await self._once(call, source)
            except HutchError as error:
                wait_s = self._link.retries.wait_s(error, call.repeat, attempt)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)
            attempt += 1

    async def _once(self, call: Call[Any], source: Source | None) -> httpx2.Response:
        content = None if source is None else _blocks(source)
        size_bytes = None if source is None else await asyncio.to_thread(size_bytes_of, source)
        with self._link.told():
            request = self._http.build_request(**self._link.request_settings(call, content, size_bytes))
            response = await self._http.send(request, stream=True)
        if not is_success(response):
            (await self._body(response)).result(call, response)  # raises what it tells
        return response

    async def _body(self, response: httpx2.Response) -> Body:
        body = Body()
        async with aclosing(response):
            with self._link.told():
                async for part in response.aiter_bytes():
                    body.add(part)
        return body


class _Inference(_Sender):
    """What models are asked."""

    async def chat(
        self, model: str, messages: str | Sequence[Message], **said: Unpack[settings.ChatSettings]
    ) -> results.Answer:
        """Answer a conversation; a text alone is what the user says."""
        return await self._ask(calls.chat(model, messages, said))

    async def chat_stream(
        self, model: str, messages: str | Sequence[Message], **said: Unpack[settings.ChatSettings]
    ) -> AsyncStream[results.Answer]:
        """Answer a conversation piece by piece."""
        return await self._stream(calls.chat_stream(model, messages, said))

    async def generate(
        self, model: str, prompt: str, **said: Unpack[settings.GenerateSettings]
    ) -> results.Answer:
        """Complete a prompt."""
        return await self._ask(calls.generate(model, prompt, said))

    async def generate_stream(
        self, model: str, prompt: str, **said: Unpack[settings.GenerateSettings]
    ) -> AsyncStream[results.Answer]:
        """Complete a prompt piece by piece."""
        return await self._stream(calls.generate_stream(model, prompt, said))

    async def embed(
        self, model: str, texts: str | Sequence[str], **said: Unpack[settings.EmbedSettings]
    ) -> results.Embeddings:
        """Turn each text into a vector of unit length."""
        return await self._ask(calls.embed(model, texts, said))

    async def rerank(
        self, model: str, query: str, documents: Sequence[str], **said: Unpack[settings.RerankSettings]
    ) -> results.Ranking:
        """Put documents in the order in which they answer a query."""
        return await self._ask(calls.rerank(model, query, documents, said))

    async def respond(
        self, model: str, given: str | Sequence[calls.Said], **said: Unpack[settings.RespondSettings]
    ) -> results.Response:
        """Answer in the words of OpenAI's Responses: the server keeps the answer, and the next can go on from it."""
        return await self._ask(calls.respond(model, given, said))

    async def respond_stream(
        self, model: str, given: str | Sequence[calls.Said], **said: Unpack[settings.RespondSettings]
    ) -> AsyncStream[results.ResponseEvent]:
        """The same as events; the last one has the whole response."""
        return await self._stream(calls.respond_stream(model, given, said))

    async def task(self, name: str, /, **said: Any) -> results.TaskResult:
        """Have a task done, such as "summarize", by the fields that it takes; `image` is bytes, a path, or base64."""
        return await self._ask(calls.task(name, said))


class _Management(_Sender):
    """What is done with models."""

    async def list(self) -> tuple[results.Model, ...]:
        """The models that the server has, the newest first."""
        return await self._ask(calls.list_models())

    async def show(self, model: str, *, verbose: bool = False) -> results.Description:
        """Everything about a model; `verbose` with its tensors and long metadata in `raw`."""
        return await self._ask(calls.show(model, verbose=verbose))

    async def pull(self, model: str, **said: Unpack[settings.TransferSettings]) -> None:
        """Fetch a model, and return when it is there."""
        await _finish(await self.pull_stream(model, **said))

    async def pull_stream(
        self, model: str, **said: Unpack[settings.TransferSettings]
    ) -> AsyncStream[results.Progress]:
        """Fetch a model, telling how far it is."""
        return await self._stream(calls.pull(model, said))

    async def push(self, model: str, **said: Unpack[settings.TransferSettings]) -> None:
        """Send a model to the registry that its name says, and return when it is there."""
        await _finish(await self.push_stream(model, **said))

    async def push_stream(
        self, model: str, **said: Unpack[settings.TransferSettings]
    ) -> AsyncStream[results.Progress]:
        """Send a model to the registry that its name says, telling how far it is."""
        return await self._stream(calls.push(model, said))

    async def create(self, model: str, **said: Unpack[settings.CreateSettings]) -> None:
        """Make a model, and return when it is made."""
        await _finish(await self.create_stream(model, **said))

    async def create_stream(
        self, model: str, **said: Unpack[settings.CreateSettings]
    ) -> AsyncStream[results.Progress]:
        """Make a model, telling how far it is."""
        return await self._stream(calls.create(model, said))

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name."""
        await self._ask(calls.copy(source, destination))

    async def delete(self, model: str) -> None:
        """Delete a model, unloading it first."""
        await self._ask(calls.delete(model))


class AsyncClient(_Inference, _Management):
    """A Hutch server. It belongs to the event loop in which it was first used."""

    async def ps(self) -> tuple[results.Running, ...]:
        """The models that are loaded."""
        return await self._ask(calls.ps())

    async def load(self, model: str, **said: Unpack[settings.LoadSettings]) -> None:
        """Load a model, and return when it is ready."""
        await self._ask(calls.load(model, said))

    async def unload(self, model: str) -> None:
        """Unload a model."""
        await self._ask(calls.unload(model))

    async def has_blob(self, digest: str) -> bool:
        """Whether the server has a file of this digest (`sha256:…`)."""
        try:
            await self._ask(calls.has_blob(digest))
        except NotFound:
            return False
        return True

    async def create_blob(self, source: Source) -> str:
        """Bring a file (where it is, or its bytes) to the server unless it has it; the digest, for `create`."""
        digest = await asyncio.to_thread(digest_of, source)
        if not await self.has_blob(digest):
            await self._ask(calls.take_blob(digest), source)
        return digest

    async def health(self) -> results.Health:
        """Whether the server can answer requests now. Does not raise because it is away, slow or not ready."""
        try:
            await self._ask(calls.ready())
        except (Unreachable, TooSlow, TurnedAway) as error:
            return results.Health(is_ready=False, problem=error.message)
        return results.Health(is_ready=True)

    async def version(self) -> results.Version:
        """The versions of the server."""
        return await self._ask(calls.version())


async def _finish(steps: AsyncStream[results.Progress]) -> None:
    async with steps:
        async for _ in steps:
            pass


async def _blocks(source: Source) -> AsyncGenerator[bytes, None]:
    """The bytes, read in a thread, for a disk may be slow."""
    pieces = blocks(source)
    while block := await asyncio.to_thread(next, pieces, b""):
        yield block
