"""A plugin of pytest that keeps what a server was asked last, and answered, in each test that failed: as JSON, in $RECORD."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

_last: dict[str, Any] = {}
_failed: dict[str, dict[str, Any]] = {}


def _asked(request: httpx.Request) -> None:
    sent = json.loads(request.content or b"{}")
    _last.clear()
    _last["path"] = request.url.path
    _last["prompt"] = sent.get("messages") or sent.get("input") or sent.get("prompt")
    _last["tools"] = [tool.get("function", tool).get("name") for tool in sent.get("tools") or ()]
    _last["output"] = ""


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The bytes of a reply, which are kept as they pass."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            _last["output"] += piece.decode(errors="replace")
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            _last["output"] += piece.decode(errors="replace")
            yield piece

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _kept(request: httpx.Request, reply: httpx.Response) -> httpx.Response:
    _asked(request)
    reply.stream = _Pieces(reply.stream)
    return reply


_handle = httpx.HTTPTransport.handle_request
_handle_async = httpx.AsyncHTTPTransport.handle_async_request


async def _handled(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
    return _kept(request, await _handle_async(self, request))


httpx.HTTPTransport.handle_request = lambda self, request: _kept(request, _handle(self, request))
httpx.AsyncHTTPTransport.handle_async_request = _handled


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what was said in a test that failed."""
    if report.failed:
        _failed[report.nodeid.partition("::")[2]] = dict(_last)
    if report.when == "teardown":
        _last.clear()


def pytest_sessionfinish() -> None:
    """Write it all down."""
    Path(os.environ["RECORD"]).write_text(
        json.dumps(_failed, indent=1, ensure_ascii=False, sort_keys=True, default=str) + "\n",
        encoding="utf-8",
    )
