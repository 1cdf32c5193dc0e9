"""Files that are written whole or not at all, and stay so when the power goes; and whose they are."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hutch.core.errors import Conflict

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_POLL_S = 0.02


def write_whole(path: Path, data: bytes, temporary: Path, mode: int) -> None:
    """Write a small file: as `temporary`, which nobody else uses, on the same disk, then in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o600), "wb") as file:
            os.chmod(temporary, mode)  # noqa: PTH101 - whatever the umask
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def is_running(pid: int) -> bool:
    """Whether a process is there, so that what bears its number is not left over."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last. Windows cannot, and need not."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, doing: str, within_s: float) -> Iterator[None]:
    """Hold a lock between processes: a file that stays. Raises Conflict where another one holds it for longer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + within_s
        while not try_lock(descriptor, shared=False):
            if time.monotonic() > deadline:
                raise Conflict(
                    f"another process is still {doing}", hint="Try again when it is done, or end it."
                )
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)  # and with it goes the lock


if sys.platform == "win32":

    def try_lock(descriptor: int, *, shared: bool) -> bool:
        """Take the lock of an open file if that needs no waiting. Windows has no shared kind: holders come one after another."""
        del shared
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def try_lock(descriptor: int, *, shared: bool) -> bool:
        """Take the lock of an open file if that needs no waiting, and say whether it is held."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
