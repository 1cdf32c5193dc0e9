"""The ports of the deployments: more doors to the same server."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from hutch.core.errors import Conflict, HutchError
from hutch.places import Address

_OPEN_WITHIN_S = 10.0
CLOSED = "hutch.closed"  # in the scope of a request to a path that its port does not have


class DoorServer(uvicorn.Server):
    """A server of one port. Signals are for the one that the process is."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _Marked:
    """Passes requests on. Where this port does not speak OpenAI's API, those to `/v1` are marked: the server refuses them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.openai_compatible = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        path = scope.get("path", "")
        if not self.openai_compatible and (path == "/v1" or path.startswith("/v1/")):
            scope[CLOSED] = True
        await self._app(scope, receive, send)


@dataclass(slots=True)
class _Door:
    listening: socket.socket
    app: _Marked
    server: DoorServer | None = None
    serving: asyncio.Task[None] | None = None


class Doors:
    """Opens and closes ports of the host that the server listens at."""

    def __init__(
        self,
        app: ASGIApp,
        listen: Callable[[Address], socket.socket],
        settings: Callable[[ASGIApp], uvicorn.Config],
        address: Address,
    ) -> None:
        self._app = app
        self._listen = listen
        self._settings = settings
        self._address = address
        self._doors: dict[int, _Door] = {}
        self._are_shut = False

    def reserve(self, port: int) -> bool:
        """Take a port: who connects waits until it is opened. False where it is there already. Raises Conflict."""
        self._check_open()
        if port in self._doors:
            return False
        address = Address(self._address.scheme, self._address.host, port)
        self._doors[port] = _Door(self._listen(address), _Marked(self._app))
        return True

    async def open(self, port: int, *, openai_compatible: bool) -> None:
        """Answer there, or go on to, in this way. Raises Conflict."""
        self._check_open()
        door = self._doors[port]
        door.app.openai_compatible = openai_compatible
        if door.server is not None:
            return
        door.server = DoorServer(self._settings(door.app))
        door.serving = asyncio.create_task(door.server.serve(sockets=[door.listening]))
        async with asyncio.timeout(_OPEN_WITHIN_S):
            while not door.server.started:
                if door.serving.done():
                    raise HutchError(f"port {port} cannot be served")
                await asyncio.sleep(0.01)

    async def close(self, port: int) -> None:
        """Answer there no more. What is being answered has as long to end as when a server ends: then it is cut off."""
        door = self._doors.pop(port, None)
        if door is None:
            return
        if door.server is not None and door.serving is not None:
            door.server.should_exit = True
            await asyncio.gather(door.serving, return_exceptions=True)
        door.listening.close()

    async def close_all(self) -> None:
        """Close every one, and open none from here on."""
        self._are_shut = True
        await asyncio.gather(*(self.close(port) for port in tuple(self._doors)))

    def _check_open(self) -> None:
        if self._are_shut:
            raise Conflict("the server is ending", hint="Deploy again once it has been started anew.")
