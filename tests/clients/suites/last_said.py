"""A plugin of pytest that keeps what a model was asked last, and answered, in each test that failed: as JSON, in $RECORD."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

_last: dict[str, Any] = {}
_failed: dict[str, dict[str, Any]] = {}


def _asked(messages: Any, tools: Any, wanted: Any) -> None:
    _last.clear()
    _last["prompt"] = [dict(message) for message in messages]
    _last["tools"] = [tool["function"]["name"] for tool in tools or ()]
    _last["format"] = wanted
    _last["output"] = ""


def _answered(part: Any) -> Any:
    message = part["message"]
    _last["output"] += message.content or ""
    for call in message.tool_calls or ():
        _last["output"] += json.dumps(
            {"name": call.function.name, "arguments": dict(call.function.arguments)}
        )
    return part


class _Client(ollama.Client):
    def chat(self, *args: Any, **kwargs: Any) -> Any:
        _asked(kwargs.get("messages", ()), kwargs.get("tools"), kwargs.get("format"))
        told = super().chat(*args, **kwargs)
        return self._parts(told) if kwargs.get("stream") else _answered(told)

    @staticmethod
    def _parts(told: Iterator[Any]) -> Iterator[Any]:
        for part in told:
            yield _answered(part)


class _AsyncClient(ollama.AsyncClient):
    async def chat(self, *args: Any, **kwargs: Any) -> Any:
        _asked(kwargs.get("messages", ()), kwargs.get("tools"), kwargs.get("format"))
        told = await super().chat(*args, **kwargs)
        return self._parts(told) if kwargs.get("stream") else _answered(told)

    @staticmethod
    async def _parts(told: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for part in told:
            yield _answered(part)


ollama.Client, ollama.AsyncClient = _Client, _AsyncClient  # type: ignore[misc]  # before a library copies the names


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what was said in a test that failed."""
    if report.failed:
        _failed[report.nodeid.rpartition("::")[2]] = dict(_last)
    if report.when == "teardown":
        _last.clear()


def pytest_sessionfinish() -> None:
    """Write it all down."""
    Path(os.environ["RECORD"]).write_text(
        json.dumps(_failed, indent=1, ensure_ascii=False, sort_keys=True, default=str) + "\n",
        encoding="utf-8",
    )
