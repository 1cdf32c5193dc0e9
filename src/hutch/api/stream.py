"""Answers that come in pieces, and stop when the client goes away."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hutch.api.gate import internal_error
from hutch.core.errors import HutchError

T = TypeVar("T")
NDJSON = "application/x-ndjson"
SSE = "text/event-stream; charset=utf-8"


class Stream(Response):
    """Sends pieces as they come. An error in mid-stream is sent as one last piece, in the dialect's words."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        render_error: Callable[[HutchError], bytes],
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-cache", **(headers or {})}, media_type)
        del self.headers["content-length"]
        self._pieces = pieces
        self._render_error = render_error
        self.error_code = ""  # of the error that the stream ended in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send until the pieces end. Who calls it cancels it when the client leaves."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._pieces):
            try:
                async for piece in self._pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except HutchError as error:
                last = self._failed(error)
            except Exception:  # noqa: BLE001  # the edge, as in the gate: the status is sent already, so the stream says it
                last = self._failed(internal_error())
            else:
                last = b""
        await send({"type": "http.response.body", "body": last, "more_body": False})

    def _failed(self, error: HutchError) -> bytes:
        self.error_code = error.code
        return self._render_error(error)


async def with_first(pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Wait for the first piece, so that an error before it still gets its status; then give them all."""
    try:
        first = await anext(pieces)
    except StopAsyncIteration:
        return _none()
    except BaseException:
        await pieces.aclose()
        raise
    return _joined(first, pieces)


async def _none() -> AsyncGenerator[T, None]:
    return
    yield


async def _joined(first: T, rest: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
