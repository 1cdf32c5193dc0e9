"""Both clients against a scripted server: each test runs once with either."""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from hutch import AsyncClient, Client, Retries
from tests.scripted_http import Script, scripted

QUICK = Retries(times=3, first_s=0.01)


class Asker:
    """Calls a method of a client, and gives what it gives; of a stream the list of its pieces."""

    def __init__(self, *, is_async: bool, url: str) -> None:
        self._is_async = is_async
        self._url = url

    def __call__(self, method: str, *words: Any, client: dict[str, Any] | None = None, **said: Any) -> Any:
        """Make a client with `client`, and ask."""
        settings: dict[str, Any] = {"base_url": self._url, "retries": QUICK, "timeout_s": 5.0} | (
            client or {}
        )
        if self._is_async:
            return asyncio.run(_ask_async(settings, method, words, said))
        with Client(**settings) as it:
            answer = getattr(it, method)(*words, **said)
            return list(answer) if hasattr(answer, "__next__") else answer


async def _ask_async(settings: dict[str, Any], method: str, words: Any, said: Any) -> Any:
    async with AsyncClient(**settings) as it:
        pending = getattr(it, method)(*words, **said)
        answer = await pending if inspect.isawaitable(pending) else pending
        return [piece async for piece in answer] if hasattr(answer, "__anext__") else answer


@pytest.fixture
def script() -> Iterator[Script]:
    """The server."""
    with scripted() as it:
        yield it


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, script: Script) -> Asker:
    """Ask the server."""
    return Asker(is_async=request.param == "async", url=script.url)
