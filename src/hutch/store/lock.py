"""A lock between processes and between threads: a file under flock.

The kernel lets go of it when its holder dies, however it dies. Readers of the store need none.

    jobs        shared by whoever makes blobs that no manifest names yet; prune takes it alone
    manifests   for the moment in which names change
    <partial>   for as long as one writer is at work on one partial blob
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from hutch.core.errors import Conflict
from hutch.core.models import Progress
from hutch.files import try_lock
from hutch.store import layout, room

_POLL_S = 0.1


class Lock:
    """One lock file. Entering the context takes nothing yet; leaving it gives back what is held."""

    def __init__(self, root: Path, name: str, *, shared: bool = False, fleeting: bool = False) -> None:
        self._path = layout.locks_folder(root) / name
        self._shared = shared
        self._fleeting = fleeting  # the file goes with its last holder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def try_acquire(self) -> bool:
        """Take the lock if that needs no waiting, and say whether it is held."""
        while self._descriptor is None:
            with room.guarded(self._path.parent):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            if not try_lock(descriptor, shared=self._shared):
                os.close(descriptor)
                return False
            if _is_same_file(descriptor, self._path):
                self._descriptor = descriptor
            else:  # its last holder removed it between our opening and our locking
                os.close(descriptor)
        return True

    def wait(
        self, what: str, timeout_s: float, sign_of_life: Callable[[], object] = lambda: None
    ) -> Iterator[Progress]:
        """Take the lock, telling that it waits; give up where `sign_of_life` has not changed for so long.

        It tells so at each look, so that whoever drives it step by step in a thread has the thread back between two.
        """
        sign, deadline = sign_of_life(), time.monotonic() + timeout_s
        while not self.try_acquire():
            yield Progress(f"waiting for another process {what}")
            if (now := sign_of_life()) != sign:
                sign, deadline = now, time.monotonic() + timeout_s
            if time.monotonic() > deadline:
                raise Conflict(
                    f"another process is still {what}", hint="Try again when it is done, or end it."
                )
            time.sleep(_POLL_S)

    def acquire(self, what: str, timeout_s: float) -> None:
        """Take the lock, waiting in silence."""
        for _ in self.wait(what, timeout_s):
            pass

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._descriptor is None:
            return
        if self._fleeting:  # held alone, so that whoever waits will see that its file is gone
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = None


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
