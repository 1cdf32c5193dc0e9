"""The one HTTP client of the wire between the front and a worker.

It is small because it has to be quick: every token of every answer passes here. Parsing is httptools', as in the server.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httptools
from pydantic_core import from_json

from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.lull import CAN_SEE_ENDS, Lull
from hutch.engines.protocol import Endpoint

_DIED = "the model's worker ended before the answer did"
_HINT = "Send the request again; `hutch logs MODEL` tells why the worker ended."
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_MAX_EVENT_BYTES = 16 << 20
_MAX_REPLY_BYTES = 1 << 30  # the vectors of thousands of texts come in one
_HIGH_WATER_BYTES = 256 << 10  # a client that reads slowly must not make the answer pile up here
_CALL_WITHIN_S = 1.0
_CALL_AGAIN_S = 0.002
_PAUSE_S = 0.04  # as often as a film changes its picture
_PAUSE_OF_SEVERAL_S = (
    0.08  # a step of the engine brings a token of each: less often, so that there is more to pass on
)
_NUM_AT_ONCE = (
    4  # tokens that go on as they come: whether an answer has begun, and how fast it comes, is told at once
)


class WorkerGone(EngineFailed):
    """Nobody listens there any more, or what listened hung up in mid-answer."""


class WorkerClient:
    """Talks to one worker.

    Every call opens a connection of its own: llama-server closes idle ones, so a pooled connection fails now and
    then, and a fresh one to a Unix socket costs next to nothing.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._num_streams = 0

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Post `body` and yield each event's JSON. Closing the iterator closes the connection, which frees the slot.

        Raises WorkerGone where the stream breaks off.
        """
        self._num_streams += 1
        try:
            async with self._exchange("POST", path, body) as exchange:
                await _check_status(exchange)
                pending = b""
                num_told = 0
                while data := await exchange.read(self._pause_s(num_told)):
                    *events, pending = (pending + data).split(b"\n\n")
                    if len(pending) > _MAX_EVENT_BYTES:
                        raise EngineFailed("the model's worker sent an event without an end", hint=_HINT)
                    for event in events:
                        if event.startswith(b"data: ") and event != b"data: [DONE]":
                            said = _checked(_parsed(event[6:]))
                            num_told += "prompt_progress" not in said
                            yield said
                        elif event.startswith(b"error: "):
                            _raise_for(_parsed(event[7:]), 500)
        finally:
            self._num_streams -= 1

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post `body` and return the reply's JSON."""
        async with self._exchange("POST", path, body) as exchange:
            await _check_status(exchange)
            return _checked(_parsed(await exchange.read_all()))

    async def get(self, path: str, timeout_s: float = 5.0) -> Any:
        """Return the JSON of a GET. Raises EngineFailed also where the worker is still loading."""
        try:
            async with asyncio.timeout(timeout_s), self._exchange("GET", path, None) as exchange:
                await _check_status(exchange)
                return _parsed(await exchange.read_all())
        except TimeoutError as error:
            raise EngineFailed(
                f"the model's worker did not answer within {timeout_s:g} s", hint=_HINT
            ) from error

    def _pause_s(self, num_told: int) -> float:
        """How long what comes may lie, where so many tokens have gone on."""
        if num_told < _NUM_AT_ONCE:
            return 0.0
        return _PAUSE_S if self._num_streams == 1 else _PAUSE_OF_SEVERAL_S

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncIterator["_Exchange"]:
        endpoint = self._endpoint
        data = _json(body) if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
        if endpoint.secret:
            head += f"Authorization: Bearer {endpoint.secret}\r\n"
        if data:
            head += "Content-Type: application/json\r\n"
        request = head.encode("ascii") + b"\r\n" + data
        loop = asyncio.get_running_loop()
        try:
            if endpoint.socket:
                sock, rest = await _asked(endpoint.socket, request)
                _, exchange = await loop.create_unix_connection(lambda: _Exchange(rest), sock=sock)
            else:
                _, exchange = await loop.create_connection(
                    lambda: _Exchange(request), "127.0.0.1", endpoint.port
                )
        except OSError as error:
            raise WorkerGone(_DIED, hint=_HINT) from error
        try:
            yield exchange
        finally:
            exchange.close()


class _Exchange(asyncio.Protocol):
    """One request and its response on one connection. Its `on_…` methods are the HTTP parser's."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport  # from connection_made on
        self._news = asyncio.Event()
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._is_complete = False
        self._is_lost = False
        self._lull: Lull | None = None
        self.has_head = False

    @property
    def status(self) -> int:
        """The response's status, once its head is there."""
        return int(self._parser.get_status_code())

    async def head(self) -> None:
        """Wait for the response's head. Raises WorkerGone where the connection ends before it."""
        while not self.has_head:
            if self._is_lost:
                raise WorkerGone(_DIED, hint=_HINT)
            self._news.clear()
            await self._news.wait()

    async def read(self, pause_s: float = 0.0) -> bytes:
        """What has come of the body since last time; empty at its end. Raises WorkerGone where it breaks off.

        With a pause, it is what came in so many seconds, or until the worker hung up.
        """
        while not self._pieces:
            if self._is_complete:
                return b""
            if self._is_lost:
                raise WorkerGone(_DIED, hint=_HINT)
            if pause_s and CAN_SEE_ENDS:  # each time: what came last may have held nothing of the body
                self._lull = self._lull or Lull(self._transport, self.data_received)
                self._lull.begin(pause_s)
            self._news.clear()
            await self._news.wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._waiting_bytes > _HIGH_WATER_BYTES and not self._is_lost:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        return data

    async def read_all(self) -> bytes:
        """The whole body. Raises EngineFailed where it does not end in time to be held."""
        data = bytearray()
        while piece := await self.read():
            data += piece
            if len(data) > _MAX_REPLY_BYTES:
                raise EngineFailed("the model's worker sent a reply without an end", hint=_HINT)
        return bytes(data)

    def close(self) -> None:
        """Hang up, whatever has not come yet."""
        if self._lull is not None:
            self._lull.close()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request, or what is left of it."""
        self._transport = cast(
            "asyncio.Transport", transport
        )  # uvloop's transports do not say that they are one
        if self._request:
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._is_lost = True
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """Whoever waits is told."""
        if self._lull is not None:
            self._lull.close()
        self._is_lost = True
        self._news.set()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.has_head = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body is there."""
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _HIGH_WATER_BYTES:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """All of the response is there."""
        self._is_complete = True


async def _asked(path: str, request: bytes) -> tuple[socket.socket, bytes]:
    """A connection to a Unix socket, and what of the request it has not taken yet. Raises OSError.

    The worker has it at once, and not after a turn of the loop.
    """
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    deadline = time.monotonic() + _CALL_WITHIN_S
    try:
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:  # too many have called whom it has not come to yet
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_CALL_AGAIN_S)
            else:
                return sock, request[sock.send(request) :]
    except BaseException:
        sock.close()
        raise


async def _check_status(exchange: _Exchange) -> None:
    await exchange.head()
    if exchange.status != 200:
        _raise_for(_parsed(await exchange.read_all()), exchange.status)


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(body).encode()
    except ValueError as error:
        raise BadInput("NaN and Infinity are no JSON numbers", hint="Leave them out.") from error


def _parsed(data: bytes) -> Any:
    try:
        return from_json(data)
    except ValueError as error:
        raise EngineFailed("the model's worker sent what is no JSON", hint=_HINT) from error


def _checked(reply: Any) -> Any:
    if isinstance(reply, dict) and "error" in reply:
        _raise_for(reply, 500)
    return reply


def _raise_for(reply: Any, status: int) -> None:
    """Raise the error that a worker reported, in Hutch's words where Hutch knows it."""
    error = reply.get("error") if isinstance(reply, dict) else None
    detail = error if isinstance(error, dict) else {}
    message = str(detail.get("message") or error or f"the model's worker answered {status}")
    if detail.get("type") == "exceed_context_size_error":
        tokens, num_ctx = int(detail.get("n_prompt_tokens", 0)), int(detail.get("n_ctx", 0))
        raise ContextExceeded(
            f"the prompt is longer than the context: {tokens} tokens exceed {num_ctx}",
            hint="Shorten the prompt, or ask for a larger num_ctx.",
            prompt_tokens=tokens,
            num_ctx=num_ctx,
        )
    if 400 <= int(detail.get("code", status)) < 500:
        raise BadInput(message)
    raise EngineFailed(message, hint=_HINT)
