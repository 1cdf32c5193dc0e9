"""Room on the disk: asked for before long writes, and told about when it runs out."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from hutch.core.errors import Forbidden, NoRoom

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_HINT = "Free some with `hutch prune` or `hutch rm`, or choose another folder with HUTCH_MODELS."


def ensure(folder: Path, needed_bytes: int) -> None:
    """Raise NoRoom where the folder's disk cannot take so many more bytes."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise NoRoom(
            f"{folder} needs {readable(needed_bytes)} more, and has {readable(free_bytes)} free", hint=_HINT
        )


@contextlib.contextmanager
def guarded(folder: Path, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn the system's words about a full or closed disk into ours, with how much was needed."""
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            size = "" if needed_bytes is None else f": it needs {readable(needed_bytes)} more"
            raise NoRoom(f"no room left in {folder}{size}", hint=_HINT) from problem
        if problem.errno in _NOT_ALLOWED:
            raise Forbidden(
                f"cannot write in {folder}: {problem.strerror}",
                hint="Choose a folder of your own with HUTCH_MODELS.",
            ) from problem
        raise


def readable(size_bytes: int) -> str:
    """A size for people: `98.4 MB`."""
    amount, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{size_bytes} B" if unit == "B" else f"{amount:.1f} {unit}"
