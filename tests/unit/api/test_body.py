"""Bodies that are too large, too slow, or broken off."""

import asyncio
import time
from collections.abc import Iterable

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from hutch.api import body
from hutch.api.body import BlockingBody, BodyTooLarge, BodyTooSlow, pieces
from tests.unit.api.asgi import scope


def request(parts: Iterable[bytes], *, ends: bool = True) -> Request:
    """A request whose body comes in parts and then ends, or never does."""
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise NotImplementedError

    return Request(scope("/x"), receive)


def test_the_pieces_come_as_they_are() -> None:
    async def scenario() -> None:
        assert [piece async for piece in pieces(request([b"a", b"", b"b"]), 2)] == [b"a", b"b"]
        with pytest.raises(BodyTooLarge):
            _ = [piece async for piece in pieces(request([b"a", b"bc"]), 2)]

    asyncio.run(scenario())


def test_a_body_that_stops_coming_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PIECE_S", 0.05)

    async def scenario() -> None:
        with pytest.raises(BodyTooSlow) as caught:
            _ = [piece async for piece in pieces(request([b"a"], ends=False), 10)]
        assert caught.value.http_status == 408

    asyncio.run(scenario())


def test_a_thread_reads_the_same_and_gets_the_same_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PIECE_S", 0.05)

    async def scenario() -> None:
        assert await asyncio.to_thread(list, BlockingBody(pieces(request([b"a", b"b"]), 9))) == [b"a", b"b"]
        for parts, problem in (([b"abc"], BodyTooLarge), ([b"a"], BodyTooSlow)):
            with pytest.raises(problem):
                await asyncio.to_thread(list, BlockingBody(pieces(request(parts, ends=False), 2)))

    asyncio.run(scenario())


def test_a_thread_that_waits_for_a_body_can_be_let_go() -> None:
    async def scenario() -> None:
        blocking = BlockingBody(pieces(request([b"a"], ends=False), 9))
        reading = asyncio.create_task(asyncio.to_thread(list, blocking))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        blocking.close()
        with pytest.raises(ClientDisconnect):
            await reading
        assert time.monotonic() - began < 5

    asyncio.run(scenario())
