"""Requests to an ASGI application without a server."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Scope


@dataclass
class Reply:
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


def scope(path: str, headers: Mapping[str, str] | None = None, method: str = "POST") -> Scope:
    """What a server would tell of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()
        ],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 11434),
    }


async def ask(
    app: ASGIApp,
    asked: Scope,
    pieces: Iterable[bytes] = (b"",),
    *,
    leaves: asyncio.Event | None = None,
    breaks_off: bool = False,
) -> Reply:
    """Send a body in pieces. The client leaves when `leaves` is set, or at once after a body that it breaks off."""
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if not breaks_off:
        messages[-1]["more_body"] = False
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        if not breaks_off:
            await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await asyncio.wait_for(app(asked, receive, send), 20)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))
