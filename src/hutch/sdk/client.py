"""`hutch.Client`: a server, asked from a program that waits for each answer."""

import copy
import time
from collections.abc import Generator, Sequence
from contextlib import closing
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


class Stream(Generic[T]):
    """An answer that comes in pieces. Closing it, or leaving its `with`, stops the server's work on it.

    Raises where the server tells an error, and BrokenOff where the answer ends before its end.
    """

    def __init__(self, response: httpx2.Response, call: StreamCall[T], link: Link) -> None:
        self._response = response
        self._pieces = self._read(Reading(call), link)

    def _read(self, reading: Reading[T], link: Link) -> Generator[T, None, None]:
        with closing(self._response), link.told():
            for data in self._response.iter_bytes():
                yield from reading.feed(data)
            yield from reading.end()

    def __iter__(self) -> Self:
        """The pieces, once."""
        return self

    def __next__(self) -> T:
        """The next piece."""
        return next(self._pieces)

    def close(self) -> None:
        """Leave. What comes after is not read."""
        self._pieces.close()
        self._response.close()

    def __enter__(self) -> Self:
        """Close it at the end of the `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


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
        self._http = httpx2.Client(**self._link.library_settings())

    def with_timeout(self, timeout_s: float | None) -> Self:
        """The same client with another patience; both share their connections."""
        other = copy.copy(self)
        other._link = self._link.patient(timeout_s)  # noqa: SLF001  # of its own class
        return other

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Close it at the end of the `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _ask(self, call: Call[T], source: Source | None = None) -> T:
        response = self._open(call, source)
        return self._body(response).result(call, response)

    def _stream(self, call: StreamCall[T]) -> Stream[T]:
        return Stream(self._open(call), call, self._link)

    def _open(self, call: Call[Any], source: Source | None = None) -> httpx2.Response:
        """Send until the server takes it; the answer's head, which is one of success."""
        attempt = 0
        while True:
            try:
                return self._once(call, source)
            except HutchError as error:
                wait_s = self._link.retries.wait_s(error, call.repeat, attempt)
                if wait_s is None:
                    raise
            time.sleep(wait_s)
            attempt += 1

    def _once(self, call: Call[Any], source: Source | None) -> httpx2.Response:
        content = None if source is None else blocks(source)
        size_bytes = None if source is None else size_bytes_of(source)
        with self._link.told():
            request = self._http.build_request(**self._link.request_settings(call, content, size_bytes))
            response = self._http.send(request, stream=True)
        if not is_success(response):
            self._body(response).result(call, response)  # raises what it tells
        return response

    def _body(self, response: httpx2.Response) -> Body:
        body = Body()
        with closing(response), self._link.told():
            for part in response.iter_bytes():
                body.add(part)
        return body


class _Inference(_Sender):
    """What models are asked."""

    def chat(
        self, model: str, messages: str | Sequence[Message], **said: Unpack[settings.ChatSettings]
    ) -> results.Answer:
        """Answer a conversation; a text alone is what the user says."""
        return self._ask(calls.chat(model, messages, said))

    def chat_stream(
        self, model: str, messages: str | Sequence[Message], **said: Unpack[settings.ChatSettings]
    ) -> Stream[results.Answer]:
        """Answer a conversation piece by piece."""
        return self._stream(calls.chat_stream(model, messages, said))

    def generate(self, model: str, prompt: str, **said: Unpack[settings.GenerateSettings]) -> results.Answer:
        """Complete a prompt."""
        return self._ask(calls.generate(model, prompt, said))

    def generate_stream(
        self, model: str, prompt: str, **said: Unpack[settings.GenerateSettings]
    ) -> Stream[results.Answer]:
        """Complete a prompt piece by piece."""
        return self._stream(calls.generate_stream(model, prompt, said))

    def embed(
        self, model: str, texts: str | Sequence[str], **said: Unpack[settings.EmbedSettings]
    ) -> results.Embeddings:
        """Turn each text into a vector of unit length."""
        return self._ask(calls.embed(model, texts, said))

    def rerank(
        self, model: str, query: str, documents: Sequence[str], **said: Unpack[settings.RerankSettings]
    ) -> results.Ranking:
        """Put documents in the order in which they answer a query."""
        return self._ask(calls.rerank(model, query, documents, said))

    def respond(
        self, model: str, given: str | Sequence[calls.Said], **said: Unpack[settings.RespondSettings]
    ) -> results.Response:
        """Answer in the words of OpenAI's Responses: the server keeps the answer, and the next can go on from it."""
        return self._ask(calls.respond(model, given, said))

    def respond_stream(
        self, model: str, given: str | Sequence[calls.Said], **said: Unpack[settings.RespondSettings]
    ) -> Stream[results.ResponseEvent]:
        """The same as events; the last one has the whole response."""
        return self._stream(calls.respond_stream(model, given, said))

    def task(self, name: str, /, **said: Any) -> results.TaskResult:
        """Have a task done, such as "summarize", by the fields that it takes; `image` is bytes, a path, or base64."""
        return self._ask(calls.task(name, said))


class _Management(_Sender):
    """What is done with models."""

    def list(self) -> tuple[results.Model, ...]:
        """The models that the server has, the newest first."""
        return self._ask(calls.list_models())

    def show(self, model: str, *, verbose: bool = False) -> results.Description:
        """Everything about a model; `verbose` with its tensors and long metadata in `raw`."""
        return self._ask(calls.show(model, verbose=verbose))

    def pull(self, model: str, **said: Unpack[settings.TransferSettings]) -> None:
        """Fetch a model, and return when it is there."""
        _finish(self.pull_stream(model, **said))

    def pull_stream(self, model: str, **said: Unpack[settings.TransferSettings]) -> Stream[results.Progress]:
        """Fetch a model, telling how far it is."""
        return self._stream(calls.pull(model, said))

    def push(self, model: str, **said: Unpack[settings.TransferSettings]) -> None:
        """Send a model to the registry that its name says, and return when it is there."""
        _finish(self.push_stream(model, **said))

    def push_stream(self, model: str, **said: Unpack[settings.TransferSettings]) -> Stream[results.Progress]:
        """Send a model to the registry that its name says, telling how far it is."""
        return self._stream(calls.push(model, said))

    def create(self, model: str, **said: Unpack[settings.CreateSettings]) -> None:
        """Make a model, and return when it is made."""
        _finish(self.create_stream(model, **said))

    def create_stream(self, model: str, **said: Unpack[settings.CreateSettings]) -> Stream[results.Progress]:
        """Make a model, telling how far it is."""
        return self._stream(calls.create(model, said))

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name."""
        self._ask(calls.copy(source, destination))

    def delete(self, model: str) -> None:
        """Delete a model, unloading it first."""
        self._ask(calls.delete(model))


class Client(_Inference, _Management):
    """A Hutch server. It may be used by several threads at once."""

    def ps(self) -> tuple[results.Running, ...]:
        """The models that are loaded."""
        return self._ask(calls.ps())

    def load(self, model: str, **said: Unpack[settings.LoadSettings]) -> None:
        """Load a model, and return when it is ready."""
        self._ask(calls.load(model, said))

    def unload(self, model: str) -> None:
        """Unload a model."""
        self._ask(calls.unload(model))

    def has_blob(self, digest: str) -> bool:
        """Whether the server has a file of this digest (`sha256:…`)."""
        try:
            self._ask(calls.has_blob(digest))
        except NotFound:
            return False
        return True

    def create_blob(self, source: Source) -> str:
        """Bring a file (where it is, or its bytes) to the server unless it has it; the digest, for `create`."""
        digest = digest_of(source)
        if not self.has_blob(digest):
            self._ask(calls.take_blob(digest), source)
        return digest

    def health(self) -> results.Health:
        """Whether the server can answer requests now. Does not raise because it is away, slow or not ready."""
        try:
            self._ask(calls.ready())
        except (Unreachable, TooSlow, TurnedAway) as error:
            return results.Health(is_ready=False, problem=error.message)
        return results.Health(is_ready=True)

    def version(self) -> results.Version:
        """The versions of the server."""
        return self._ask(calls.version())


def _finish(steps: Stream[results.Progress]) -> None:
    with steps:
        for _ in steps:
            pass
