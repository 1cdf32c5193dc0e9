"""A request's body, read in pieces: no larger than it may be, and no slower."""

import asyncio
from collections.abc import AsyncGenerator, Iterator

from starlette.requests import ClientDisconnect, Request

from hutch.core.errors import BadInput

PIECE_S = 30.0  # how long a client may take until the next bytes come


class BodyTooLarge(BadInput):
    """More bytes than this server takes in one request."""

    http_status = 413

    def __init__(self, limit_bytes: int, setting: str) -> None:
        super().__init__(
            f"the request body is larger than {limit_bytes >> 20} MiB", hint=f"Send less, or raise {setting}."
        )


class BodyEncoded(BadInput):
    """A body that would have to be unpacked first."""

    http_status = 415

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"the request body is encoded as {ascii(encoding[:40])[1:-1]}",
            hint="Send it plain, without the header Content-Encoding.",
        )


class BodyTooSlow(BadInput):
    """The client began to send a body and stopped."""

    http_status = 408

    def __init__(self) -> None:
        super().__init__(
            f"no more of the request body came for {PIECE_S:g} s", hint="Send the request again."
        )


async def pieces(
    request: Request, max_bytes: int, setting: str = "HUTCH_MAX_BODY_MIB"
) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises BodyEncoded, BodyTooLarge, where the client says so itself at once, BodyTooSlow, and ClientDisconnect."""
    encoding = request.headers.get("content-encoding", "")
    if encoding.lower() not in ("", "identity"):
        raise BodyEncoded(encoding)
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed[:20]) > max_bytes:
        raise BodyTooLarge(max_bytes, setting)
    left_bytes, has_more = max_bytes, True
    while has_more:
        try:
            async with asyncio.timeout(PIECE_S):
                message = await request.receive()
        except TimeoutError:
            raise BodyTooSlow from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece, has_more = message.get("body", b""), message.get("more_body", False)
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise BodyTooLarge(max_bytes, setting)
        if piece:
            yield piece


class BlockingBody:
    """The same for a thread that blocks: each piece is read by the event loop when it is asked for."""

    def __init__(self, body: AsyncGenerator[bytes, None]) -> None:
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._is_closed = asyncio.Event()

    def __iter__(self) -> Iterator[bytes]:
        """For the thread. Raises ClientDisconnect once it is closed."""
        while piece := asyncio.run_coroutine_threadsafe(self._next(), self._loop).result():
            yield piece

    def close(self) -> None:
        """Let the thread go. For the event loop."""
        self._is_closed.set()

    async def _next(self) -> bytes:
        reading = asyncio.ensure_future(anext(self._body, b""))
        closing = asyncio.create_task(self._is_closed.wait())
        try:
            await asyncio.wait((reading, closing), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise ClientDisconnect
            return await reading
        finally:
            closing.cancel()
            reading.cancel()  # nothing happens where it is done
