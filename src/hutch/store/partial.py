"""A file on its way to become a blob: written aside, hashed as it grows, and named only once its digest is right."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from hutch import files
from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.store import layout, room
from hutch.store.lock import Lock

_READ_BYTES = 1 << 20
_WAIT_S = 60.0  # for a writer whose file does not grow


class Partial:
    """One partial file with one writer. Leaving the context keeps it where `keep` is set, for the next try."""

    def __init__(self, root: Path, name: str, *, keep: bool) -> None:
        self.path = layout.blobs_folder(root) / name
        self.keep = keep
        self.size_bytes = 0
        self.needed_bytes: int | None = None  # told when the disk is full
        self._root = root
        self._lock = Lock(root, name, fleeting=True)
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        locked = self._descriptor is not None
        self._close()
        if locked and not (self.keep and self.size_bytes):
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._lock.release()

    @property
    def digest(self) -> str:
        """The digest of what is written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def open(self) -> Iterator[Progress]:
        """Become the one writer, waiting for another that is at work, and take up what an earlier one left."""
        yield from self._lock.wait("downloading the same file", _WAIT_S, self._size_on_disk)
        with room.guarded(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
            self._descriptor = os.open(self.path, flags, 0o644)
            if os.name != "nt":
                os.fchmod(self._descriptor, 0o644)  # whatever the umask: a team shares the folder
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        while data := os.read(self._descriptor, _READ_BYTES):
            self._hash.update(data)
            self.size_bytes += len(data)

    def write(self, data: bytes) -> None:
        """Add bytes at the end. Raises NoRoom."""
        assert self._descriptor is not None  # noqa: S101
        view = memoryview(data)
        with room.guarded(self.path.parent, self.needed_bytes):
            while view:
                written = os.write(self._descriptor, view)
                self._hash.update(view[:written])
                self.size_bytes += written
                view = view[written:]

    def cut(self, size_bytes: int) -> None:
        """Go back to the first so many bytes."""
        assert self._descriptor is not None  # noqa: S101
        os.ftruncate(self._descriptor, size_bytes)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        while data := os.read(self._descriptor, _READ_BYTES):
            self._hash.update(data)
            self.size_bytes += len(data)

    def become_blob(self, digest: str | None = None) -> str:
        """Take the blob's name, if these are the bytes that were wanted, and return their digest."""
        if digest is not None and digest != self.digest:
            self.keep = False
            raise SourceFailed(
                f'digest mismatch, expected "{digest}", got "{self.digest}"',
                hint="The file was changed or damaged on its way. Try again, or ask whoever runs the source.",
            )
        assert self._descriptor is not None  # noqa: S101
        with room.guarded(self.path.parent, self.needed_bytes):
            os.fsync(self._descriptor)
            self._close()
            self.path.replace(layout.blob_path(self._root, self.digest))
            files.sync_folder(self.path.parent)
        return self.digest

    def _size_on_disk(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
