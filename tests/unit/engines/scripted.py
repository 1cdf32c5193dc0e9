"""A worker on a Unix socket that says just what a test tells it to."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hutch.engines.client import WorkerClient
from hutch.engines.protocol import Endpoint

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Asked:
    """What the worker has seen: the requests, and whether it was hung up on."""

    heads: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; one that hangs fails."""
    asyncio.run(asyncio.wait_for(scenario, 30))


@asynccontextmanager
async def worker(script: Script) -> AsyncIterator[tuple[WorkerClient, Asked]]:
    """A client and what it talks to. The connection is closed when the script ends."""
    asked = Asked()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            asked.heads.append(head)
            length = next(
                (int(line[15:]) for line in head.splitlines() if line.startswith("Content-Length:")), 0
            )
            body = await reader.readexactly(length)
            asked.bodies.append(json.loads(body) if body else None)
            with contextlib.suppress(ConnectionError):
                await script(reader, writer)
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "w.sock")
        server = await asyncio.start_unix_server(answer, path)
        try:
            yield WorkerClient(Endpoint(socket=path)), asked
        finally:
            server.close()


def reply(body: bytes, status: str = "200 OK") -> bytes:
    """A whole response."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(value: object) -> bytes:
    """An event of a stream."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def says(*pieces: bytes) -> Script:
    """A script that sends these pieces, each one after the client has had its turn to read the one before."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    return script
