"""The worker's HTTP: routes, bodies with a bound, streams that end when the client leaves. What is answered is not decided here."""

import asyncio
import json
import logging
import os
import re
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Protocol

import uvicorn
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from hutch.core.errors import BadInput, Busy, ContextExceeded, HutchError
from hutch.engines.protocol import Endpoint

_log = logging.getLogger(__name__)
_MAX_BODY_BYTES = 64 << 20
_SLOT = re.compile(r"/slots/(\d{1,9})")
_STREAM_HEADERS = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]

JsonDict = dict[str, Any]


class Reply(Protocol):
    """An answer on its way: in parts or whole. Both raise the HutchError that ends it."""

    @property
    def is_stream(self) -> bool:
        """Whether its parts were asked for."""

    def close(self) -> None:
        """Give it up, if it has not ended."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The parts of a stream."""

    async def whole(self) -> JsonDict:
        """All of it."""


class Wire(Protocol):
    """What a loaded model answers, by path."""

    @property
    def posts(self) -> Mapping[str, Callable[[JsonDict], Awaitable[Any]]]:
        """What answers JSON with JSON."""

    @property
    def gets(self) -> Mapping[str, Callable[[], Any]]:
        """What only tells."""

    @property
    def streams(self) -> Mapping[str, Callable[[JsonDict], Awaitable[Reply]]]:
        """What generates."""


class Application:
    """The ASGI application. Until `wire` is set, the model is loading."""

    def __init__(self, secret: str = "") -> None:
        self.wire: Wire | None = None
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer = _Answer(scope, receive, send)
        try:
            await self._route(request, answer)
        except HutchError as error:
            await answer.fail(error)
        except Exception:  # noqa: BLE001  the edge of HTTP
            _log.exception("%s %s failed", request.method, request.url.path)
            await answer.fail(HutchError("the worker failed; its log has more"))

    async def _route(self, request: Request, answer: "_Answer") -> None:
        wire, path = self.wire, request.url.path
        if self._secret and not _is_let_in(request, self._secret):
            await answer.json({"error": _detail(401, "Invalid API Key", "authentication_error")}, 401)
        elif wire is None:
            await answer.json({"error": _detail(503, "Loading model", "unavailable_error")}, 503)
        elif request.method == "GET" and path in ("/health", "/v1/health"):
            await answer.json({"status": "ok"})
        elif request.method == "GET" and path in wire.gets:
            await answer.json(wire.gets[path]())
        elif request.method == "POST" and path in wire.posts:
            await answer.posted(wire.posts[path](await _body(request)))
        elif request.method == "POST" and "/slots" in wire.posts and (slot := _SLOT.fullmatch(path)):
            named = {"id_slot": int(slot[1]), "action": request.query_params.get("action")}
            await answer.posted(wire.posts["/slots"](await _body(request) | named))
        elif request.method == "POST" and path in wire.streams:
            await answer.reply(await wire.streams[path](await _body(request)))
        else:
            known = path in (*wire.gets, *wire.posts, *wire.streams, "/health")
            status, said = (405, "Method not allowed") if known else (404, "File Not Found")
            await answer.json({"error": _detail(status, said, "not_found_error")}, status)


class _Answer:
    """The response to one request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._has_begun = False

    async def json(self, said: Any, status: int = 200) -> None:
        """The whole response."""
        response = JSONResponse(said, status)  # raises where that is no JSON: nothing is sent then
        self._has_begun = True
        await response(self._scope, self._receive, self._send)

    async def posted(self, said: Awaitable[Any]) -> None:
        """What becomes of a request, which is given up when the client leaves."""
        work = asyncio.ensure_future(said)
        gone = asyncio.ensure_future(self._until_gone())
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await self.json(work.result())
        finally:
            for task in (work, gone):
                task.cancel()
                with suppress(asyncio.CancelledError, HutchError):
                    await task

    async def reply(self, reply: Reply) -> None:
        """An answer, which is given up when the client leaves."""
        work = asyncio.ensure_future(self._stream(reply) if reply.is_stream else self._whole(reply))
        gone = asyncio.ensure_future(self._until_gone())
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            reply.close()
            for task in (work, gone):
                task.cancel()
                with suppress(asyncio.CancelledError, HutchError):
                    await task

    async def fail(self, error: HutchError) -> None:
        """Say what went wrong: as the response, or where that has begun as an event in it."""
        status, said = error_json(error)
        if not self._has_begun:
            await self.json(said, status)
            return
        await self._send({"type": "http.response.body", "body": b"data: " + _dumped(said) + b"\n\n"})

    async def _whole(self, reply: Reply) -> None:
        await self.json(await reply.whole())

    async def _stream(self, reply: Reply) -> None:
        async with aclosing(reply.pieces()) as pieces:
            async for piece in pieces:
                if not self._has_begun:
                    self._has_begun = True
                    await self._send(
                        {"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS}
                    )
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def error_json(error: HutchError) -> tuple[int, JsonDict]:
    """The status and the JSON of a reply that says what went wrong, as llama-server writes it."""
    if isinstance(error, ContextExceeded):
        sizes = {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.num_ctx}
        return 400, {"error": {**_detail(400, error.message, "exceed_context_size_error"), **sizes}}
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    if isinstance(error, BadInput):
        return 400, {"error": _detail(400, message, "invalid_request_error")}
    if isinstance(error, Busy):
        return 503, {"error": _detail(503, message, "unavailable_error")}
    return 500, {"error": _detail(500, message, "server_error")}


def serve(application: Application, endpoint: Endpoint, load: Callable[[], Awaitable[None]]) -> None:
    """Listen at the endpoint, load the model, and serve until the process ends. Raises what `load` raises."""
    listener = _listener(endpoint)
    config = uvicorn.Config(
        application, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=5, ws="none"
    )
    server = uvicorn.Server(config)

    async def run() -> None:
        serving = asyncio.ensure_future(server.serve([listener]))
        loading = asyncio.ensure_future(load())
        await asyncio.wait((serving, loading), return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and loading.exception() is not None:
            serving.cancel()
            loading.result()
        await serving

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())


def _listener(endpoint: Endpoint) -> socket.socket:
    """A socket that only this user can reach: by its mode, or by the secret."""
    if not endpoint.socket:
        return socket.create_server(("127.0.0.1", endpoint.port))
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(endpoint.socket)
    finally:
        os.umask(before)
    return listener


async def _body(request: Request) -> JsonDict:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > _MAX_BODY_BYTES:
            raise BadInput(f"the body is larger than {_MAX_BODY_BYTES >> 20} MiB")
    try:
        body = from_json(bytes(data), allow_inf_nan=False)
    except ValueError as error:
        raise BadInput(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadInput("the body must be a JSON object")
    return body


def _is_let_in(request: Request, secret: str) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return secrets.compare_digest(given.encode(), secret.encode())


def _detail(code: int, message: str, kind: str) -> JsonDict:
    return {"code": code, "message": message, "type": kind}


def _dumped(said: Any) -> bytes:
    return json.dumps(said).encode()
