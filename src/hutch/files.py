"""Files that are written whole or not at all, and stay so when the power goes; and whose they are."""

import contextlib
import os
from pathlib import Path


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
