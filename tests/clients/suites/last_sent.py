"""A plugin of pytest that keeps what a server was asked last, and answered, in each test that failed: as JSON, in $RECORD."""

import contextlib
import importlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

_last: dict[str, Any] = {}
_failed: dict[str, dict[str, Any]] = {}


def _asked(request: Any) -> None:
    sent = json.loads(request.content or b"{}")
    _last.clear()
    _last["path"] = request.url.path
    _last["prompt"] = sent.get("messages") or sent.get("input") or sent.get("prompt")
    _last["tools"] = [tool.get("function", tool).get("name") for tool in sent.get("tools") or ()]
    _last["output"] = ""


def _pieces(library: Any, stream: Any) -> Any:
    """The bytes of a reply, which are kept as they pass."""

    class Pieces(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            for piece in stream:
                _last["output"] += piece.decode(errors="replace")
                yield piece

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in stream:
                _last["output"] += piece.decode(errors="replace")
                yield piece

        def close(self) -> None:
            stream.close()

        async def aclose(self) -> None:
            await stream.aclose()

    return Pieces()


def _watch(library: Any) -> None:
    """Keep what goes through this library."""
    handle = library.HTTPTransport.handle_request
    handle_async = library.AsyncHTTPTransport.handle_async_request

    def kept(request: Any, reply: Any) -> Any:
        _asked(request)
        reply.stream = _pieces(library, reply.stream)
        return reply

    async def handled(self: Any, request: Any) -> Any:
        return kept(request, await handle_async(self, request))

    library.HTTPTransport.handle_request = lambda self, request: kept(request, handle(self, request))
    library.AsyncHTTPTransport.handle_async_request = handled


for _name in ("httpx", "httpx2"):  # before a client is made
    with contextlib.suppress(ModuleNotFoundError):
        _watch(importlib.import_module(_name))


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
