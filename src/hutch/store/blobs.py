"""Blobs: files named by the digest of their bytes."""

import hashlib
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hutch.core.errors import FormatError, SourceFailed
from hutch.core.models import Progress
from hutch.store import layout
from hutch.store.pace import Pace
from hutch.store.partial import Partial

_READ_BYTES = 1 << 20


class Added(NamedTuple):
    """A blob that was asked for, and whether it had to be written."""

    digest: str
    size_bytes: int
    created: bool


class Blobs:
    """The blobs of one model folder. Touches nothing but `blobs/` and `.locks/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where a blob lies."""
        return layout.blob_path(self.root, digest)

    def size_bytes(self, digest: str) -> int | None:
        """How long a blob is; None where there is none."""
        path = self.path(digest)
        return path.stat().st_size if path.is_file() else None

    def is_whole(self, digest: str, size_bytes: int | None = None) -> bool:
        """Whether a blob is there and its bytes are those of its name. Reads all of it."""
        found_bytes = self.size_bytes(digest)
        if found_bytes is None or size_bytes not in (None, found_bytes):
            return False
        return bool(exhaust(digest_of(self.path(digest))) == digest)

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """The bytes of a small blob. Raises FormatError where it is missing, too large, or not what its name says."""
        path = self.path(digest)
        try:
            data = layout.read_bounded(path, limit_bytes)
        except OSError as problem:
            raise FormatError(
                f"{path}: {problem.strerror}", hint="Pull or create the model again."
            ) from problem
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise FormatError(
                f"{path} is damaged: its digest is another", hint="Pull or create the model again."
            )
        return data

    def partial(self, digest: str) -> Partial:
        """The file in which a blob of a known digest grows; it outlives a try that fails."""
        return Partial(self.root, digest.replace(":", "-") + layout.PARTIAL_SUFFIX, keep=True)

    def keyed(self, key: str) -> Partial:
        """The same for bytes whose digest is not known but whose source is: `key` stands for both."""
        name = f"url-{hashlib.sha256(key.encode()).hexdigest()}{layout.PARTIAL_SUFFIX}"
        return Partial(self.root, name, keep=True)

    def incoming(self) -> Partial:
        """A file for bytes that nobody could go on with."""
        return Partial(self.root, layout.temporary_name(), keep=False)

    def add(self, data: bytes) -> Added:
        """Have a small blob of these bytes."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self.is_whole(digest, len(data)):
            return Added(digest, len(data), created=False)
        return self._write((data,), digest)

    def take(
        self, chunks: Iterable[bytes], digest: str | None = None, size_bytes: int | None = None
    ) -> Added:
        """Have a blob of these bytes; they are not read where one of this digest and size is there already."""
        if digest is not None:
            found_bytes = self.size_bytes(digest)
            if found_bytes is not None and size_bytes in (None, found_bytes):
                return Added(digest, found_bytes, created=False)
        return self._write(chunks, digest)

    def copy_file(self, path: Path, into: Partial, status: str) -> Generator[Progress, None, None]:
        """Append a file's bytes to a partial, telling how far it is."""
        pace = Pace()
        with path.open("rb") as file:
            total = into.size_bytes + path.stat().st_size
            while data := file.read(_READ_BYTES):
                into.write(data)
                if pace.is_due() or into.size_bytes == total:
                    yield Progress(status, total=total, completed=into.size_bytes)
        if into.size_bytes != total:
            raise SourceFailed(f"{path} changed while it was read", hint="Try again.")

    def _write(self, chunks: Iterable[bytes], digest: str | None) -> Added:
        with self.incoming() as partial:
            exhaust(partial.open())
            for chunk in chunks:
                partial.write(chunk)
            return Added(partial.become_blob(digest), partial.size_bytes, created=True)


def digest_of(path: Path) -> Generator[int, None, str]:
    """Read a file for its digest, telling how many bytes are read."""
    sha256, read_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            sha256.update(data)
            read_bytes += len(data)
            yield read_bytes
    return f"sha256:{sha256.hexdigest()}"


def exhaust(steps: Iterable[object]) -> Any:
    """Do the work and tell nobody. What a generator returns is returned."""
    iterator = iter(steps)
    while True:
        try:
            next(iterator)
        except StopIteration as end:
            return end.value
