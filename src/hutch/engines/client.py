"""The one HTTP client of the wire between the front and a worker."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.protocol import Endpoint

_DIED = "the model's worker ended before the answer did"
_HINT = "Send the request again; `hutch logs MODEL` tells why the worker ended."
_MAX_EVENT_BYTES = 16 << 20


class WorkerGone(EngineFailed):
    """Nobody listens there any more: the call had no effect."""


class WorkerClient:
    """Talks to one worker.

    Every call opens a connection of its own: llama-server closes idle ones, so a pooled connection fails now and
    then, and a fresh one to a Unix socket costs next to nothing.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._base = "http://worker" if endpoint.socket else f"http://127.0.0.1:{endpoint.port}"
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(endpoint.socket, force_close=True, limit=0)
            if endpoint.socket
            else aiohttp.TCPConnector(force_close=True, limit=0)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"Authorization": f"Bearer {endpoint.secret}"} if endpoint.secret else None,
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=1 << 16,
            trust_env=False,
        )

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Post `body` and yield each event's JSON. Closing the iterator closes the connection, which frees the slot.

        Raises EngineFailed where the stream breaks off.
        """
        async with self._post(path, body) as response:
            pending = b""
            async for data in response.content.iter_any():
                *events, pending = (pending + data).split(b"\n\n")
                if len(pending) > _MAX_EVENT_BYTES:
                    raise EngineFailed("the model's worker sent an event without an end", hint=_HINT)
                for event in events:
                    if event.startswith(b"data: ") and event != b"data: [DONE]":
                        yield _checked(_parsed(event[6:]))
                    elif event.startswith(b"error: "):
                        _raise_for(_parsed(event[7:]), 500)

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post `body` and return the reply's JSON."""
        async with self._post(path, body) as response:
            return _checked(_parsed(await response.read()))

    async def get(self, path: str, timeout_s: float = 5.0) -> Any:
        """Return the JSON of a GET. Raises EngineFailed also where the worker is still loading."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        with _translated():
            async with self._session.get(self._base + path, timeout=timeout) as response:
                body = await response.read()
        if response.status != 200:
            _raise_for(_parsed(body), response.status)
        return _parsed(body)

    async def close(self) -> None:
        """Drop all connections."""
        await self._session.close()

    @asynccontextmanager
    async def _post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        with _translated():
            async with self._session.post(self._base + path, json=body) as response:
                if response.status != 200:
                    _raise_for(_parsed(await response.read()), response.status)
                yield response


class _translated:  # noqa: N801  # used like contextlib.suppress
    """Turn the HTTP library's errors into EngineFailed."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiohttp.ClientConnectorError):
            raise WorkerGone(_DIED, hint=_HINT) from error
        if isinstance(error, aiohttp.ClientError | ConnectionError | TimeoutError):
            raise EngineFailed(_DIED, hint=_HINT) from error


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
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
