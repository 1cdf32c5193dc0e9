"""Logs that other processes write: for this user's eyes alone, and of a bounded length while they are written."""

import logging
import os
import shutil
from pathlib import Path
from typing import IO

_log = logging.getLogger(__name__)
_MAX_BYTES = 8 << 20


def open_to_add(path: Path) -> IO[bytes]:
    """A log to add to. Nobody else may read it: an engine may quote what it was asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trim(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def trim(path: Path) -> None:
    """Put what is in a log that has grown long aside, in place of what was there before.

    The file stays, for whoever writes has it open: everybody here opens it to append.
    """
    if not path.is_file() or path.stat().st_size <= _MAX_BYTES:
        return
    aside = path.with_name(f"{path.name}.1")
    try:
        aside.unlink(missing_ok=True)
        aside.touch(mode=0o600)
        shutil.copyfile(path, aside)
    except OSError as error:  # a full disk: all the more reason to let go of it
        _log.warning("what %s held is lost: %s", path, error)
    os.truncate(path, 0)


def trim_own(path: Path) -> None:
    """The same for this process's own log, where `path` is that."""
    if path.is_file() and os.path.samestat(path.stat(), os.fstat(2)):
        trim(path)
