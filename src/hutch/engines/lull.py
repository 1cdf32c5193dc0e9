"""A pause in which what a worker says lies unread, so that it is read at once (docs/adr/0018-paced-answers.md)."""

import asyncio
import os
import select
from collections.abc import Callable

_READ_BYTES = 256 << 10
_NUM_AFTER_NOTHING = 16  # pauses that are left out after one in which nothing came: they would only cost
# The end of a connection is seen without reading from it, on Linux. Elsewhere nothing is left lying.
CAN_SEE_ENDS = hasattr(select, "EPOLLRDHUP")


class Lull:
    """Reads from a connection by the clock, and at once when the other side has hung up. One for each connection.

    `received` is told what came. While nothing comes in time, the transport reads again as it always does.
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
        self._num_to_skip = 0

    def begin(self, pause_s: float) -> None:
        """Read nothing for so many seconds, unless what comes is slower than that."""
        if self._num_to_skip:
            self._num_to_skip -= 1
        elif not self._ends.closed:
            self._transport.pause_reading()
            self._timer = self._loop.call_later(pause_s, self._end)

    def close(self) -> None:
        """Stop watching. Must come before the connection is closed: its number may soon be another's."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._ends.closed:
            self._loop.remove_reader(self._ends.fileno())
            self._ends.close()

    def _hung_up(self) -> None:
        self.close()
        self._end()
        self._transport.resume_reading()

    def _end(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError:  # nothing there, or a broken connection: the transport knows what to do
            data = b""
        if data:
            self._received(data)
        else:
            self._num_to_skip = _NUM_AFTER_NOTHING
            self._transport.resume_reading()
