"""A pause in which what a worker says lies unread, so that it is read at once (docs/adr/0018-paced-answers.md)."""

import asyncio
import math
import os
import select
from collections.abc import Callable

_READ_BYTES = 256 << 10
_NUM_VAIN = 5  # pauses in a row in which nothing came; then the connection is read when there is something
# The end of a connection is seen without reading from it, on Linux. Elsewhere nothing is left lying.
CAN_SEE_ENDS = hasattr(select, "EPOLLRDHUP")


class Lull:
    """Reads from a connection by the clock, and at once when the other side has hung up. One for each connection.

    The clock is one for all: what several answers bring between two of its ticks is read, and passed on, in one go.
    `received` is told what came.
    """

    def __init__(self, transport: asyncio.Transport, received: Callable[[bytes], None]) -> None:
        self._transport = transport
        self._received = received
        self._loop = asyncio.get_running_loop()
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._ends = select.epoll(1)
        self._ends.register(self._fd, select.EPOLLRDHUP)
        self._loop.add_reader(self._ends.fileno(), self._hung_up)
        self._timer: asyncio.TimerHandle | None = None
        self._num_vain = 0

    def begin(self, pause_s: float) -> None:
        """Read nothing until the clock's next tick, of which there is one every so many seconds."""
        if not self._ends.closed:
            self._transport.pause_reading()
            self._wait(pause_s)

    def close(self) -> None:
        """Stop watching. Must come before the connection is closed: its number may soon be another's."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._ends.closed:
            self._loop.remove_reader(self._ends.fileno())
            self._ends.close()

    def _wait(self, pause_s: float) -> None:
        tick = math.floor(self._loop.time() / pause_s) + 1
        self._timer = self._loop.call_at(tick * pause_s, self._look, pause_s)

    def _look(self, pause_s: float) -> None:
        if self._read():
            self._num_vain = 0
        elif self._num_vain < _NUM_VAIN:
            self._num_vain += 1
            self._wait(pause_s)
        else:
            self._num_vain = 0
            self._transport.resume_reading()

    def _hung_up(self) -> None:
        self.close()
        self._read()
        self._transport.resume_reading()

    def _read(self) -> bool:
        """Whether anything was there."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError:  # nothing there, or a broken connection: the transport knows what to do
            data = b""
        if data:
            self._received(data)
        return bool(data)
