"""Threads that each hold a connection: started together, ended together, and never waited for long."""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import httpx2

_GOODBYE_S = 2.0


class Connections:
    """So many threads at some pieces of work. The first that fails ends all."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._responses: set[httpx2.Response] = set()
        self._problem: BaseException | None = None
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up. A thread that still waits for a connection ends by itself, and writes nothing any more."""
        self._over.set()
        with self._mutex:
            for response in self._responses:
                _hang_up(response)
        until_s = time.monotonic() + _GOODBYE_S
        for thread in self._threads:
            thread.join(max(until_s - time.monotonic(), 0))

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return self._over.is_set()

    def start(self, work: Callable[[Any], None], pieces: Iterable[Any], limit: int) -> None:
        """Let threads work until no piece is left, or one fails."""
        left: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for piece in pieces:
            left.put(piece)
        for _ in range(min(limit, left.qsize())):
            thread = threading.Thread(target=self._run, args=(work, left), daemon=True)
            self._threads.append(thread)
            thread.start()

    def are_busy(self, within_s: float) -> bool:
        """Wait that long at most, and say whether any thread is at work and none has failed."""
        alive = next((thread for thread in self._threads if thread.is_alive()), None)
        if alive is not None:
            alive.join(within_s)
        return alive is not None and self._problem is None

    def check(self) -> None:
        """Raise what a thread failed of."""
        if self._problem is not None:
            raise self._problem

    def pause(self, seconds: float) -> None:
        """Wait, unless it is over."""
        self._over.wait(seconds)

    @contextlib.contextmanager
    def using(self, response: httpx2.Response) -> Iterator[None]:
        """Have an answer hung up when it is over."""
        with self._mutex:
            self._responses.add(response)
        if self.is_over:
            _hang_up(response)
        try:
            yield
        finally:
            with self._mutex:
                self._responses.discard(response)

    def _run(self, work: Callable[[Any], None], left: "queue.SimpleQueue[Any]") -> None:
        try:
            while not self.is_over:
                work(left.get_nowait())
        except queue.Empty:
            return
        except BaseException as problem:  # noqa: BLE001  # it goes to whoever waits
            with self._mutex:
                if not self.is_over and self._problem is None:
                    self._problem = problem
            self._over.set()


def _hang_up(response: httpx2.Response) -> None:
    """Wake the thread that reads: it sees the end of the answer."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        with contextlib.suppress(OSError, ValueError):
            connection.shutdown(socket.SHUT_RDWR)
