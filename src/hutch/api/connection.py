"""One client's connection, which may neither send headers without end nor keep the server waiting without end."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 << 10
HEAD_S = 30.0  # how long a client may take to send a request's line and headers
WRITE_S = 60.0  # how long a client may leave what was sent to it unread
_MAX_GATHERED_BYTES = 32 << 10  # more is written at once, so that a slow client slows whoever writes
_REPLY_431 = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """Uvicorn's connection with an end to everything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came, and is expected to say what it wants."""
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]  # uvicorn narrows it
        self._num_idle_bytes = (
            0  # since a head, a piece of a body or a request was whole: what the parser hoards
        )
        self._has_advanced = False
        self._is_past_head = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or this side, hung up."""
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came. Those of a head, and others that come to nothing, are counted."""
        for start in range(0, len(data), MAX_HEAD_BYTES):
            piece = data[start : start + MAX_HEAD_BYTES]
            self._has_advanced = False
            super().data_received(piece)
            if self.transport.is_closing():
                return
            if self._has_advanced:
                self._num_idle_bytes = 0
                continue
            self._num_idle_bytes += len(piece)
            if self._num_idle_bytes > MAX_HEAD_BYTES:
                self._refuse()
                return
            if not self._is_past_head and self._head_timer is None:
                self._expect_head()

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is whole: the request can be answered."""
        self._has_advanced = self._is_past_head = True
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        self._has_advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; the next bytes are another's."""
        self._has_advanced, self._is_past_head = True, False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._end_if_late)

    def _end_if_late(self) -> None:
        if _is_open(self.cycle):  # some clients send an empty line after their request
            self._expect_head()
        else:
            self.transport.close()

    def _refuse(self) -> None:
        if _is_open(self.cycle):
            self.transport.abort()
        else:
            self.transport.write(_REPLY_431)
            self.transport.close()


class _Gathering:
    """A transport that writes what comes in one turn of the loop at once: a head with its body, the tokens of a read.

    Each write costs both sides a switch, and the processor is the engine's.
    """

    def __init__(self, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Any = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._num_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it with whatever else this turn brings."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        self._num_bytes += len(data)
        if self._num_bytes > _MAX_GATHERED_BYTES:
            self._flush()

    def close(self) -> None:
        """Send what is left, then hang up."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._num_bytes = 0
            if not self._transport.is_closing():  # the client may have left in this very turn
                self._transport.write(data)


def _is_open(cycle: RequestResponseCycle | None) -> bool:
    return cycle is not None and not cycle.response_complete
