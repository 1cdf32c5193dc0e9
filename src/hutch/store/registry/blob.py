"""One blob out of a registry: several connections at once, each at one part, into a file that gets its name when its digest is right."""

import os
import threading
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from hutch import files
from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.store import room
from hutch.store.blobs import Blobs, digest_of
from hutch.store.download import ENOUGH_PROGRESS_BYTES, RETRIED, content_range
from hutch.store.lock import Lock
from hutch.store.manifests import Layer
from hutch.store.pace import EVERY_S, Pace
from hutch.store.registry import parts
from hutch.store.registry.client import Away, Registry
from hutch.store.registry.connections import Connections
from hutch.store.registry.parts import Part, Split

NOTE_EVERY_BYTES = 8 << 20
SLOWEST_BYTES_PER_S = 1024  # a connection that brings less is as good as stalled
_WAIT_S = 60.0  # for another download of the same blob that does not grow
_HINT = "Try again: what has arrived is kept."


class _TryAgain(Exception):
    """A connection failed, and the next may not."""


class _NoRanges(Exception):
    """The server sends the whole blob or nothing."""


def have(registry: Registry, layer: Layer, blobs: Blobs, split: Split) -> Generator[Progress, None, None]:
    """Download a blob, or let another process do it. Raises SourceFailed or NoRoom; what has arrived is kept."""
    final, partial = blobs.path(layer.digest), parts.partial_path(blobs, layer.digest)
    with Lock(blobs.root, partial.name, fleeting=True) as lock:
        yield from lock.wait("downloading the same file", _WAIT_S, lambda: _changed(partial))
        if blobs.is_whole(layer.digest, layer.size_bytes):
            return  # that other process was done
        with room.guarded(partial.parent):
            partial.parent.mkdir(parents=True, exist_ok=True)
        todo = parts.noted(partial, layer.size_bytes)
        resumed = any(part.completed_bytes for part in todo)
        num_rangeless = 0
        while True:
            if not todo:
                _clear(partial)
                todo = parts.plan(layer.size_bytes, split)
            try:
                yield from _download(registry, layer, partial, todo, split)
            except _NoRanges:
                num_rangeless += 1
                if num_rangeless > registry.patience.tries:
                    raise SourceFailed(
                        "the registry breaks off, and cannot send the rest alone",
                        hint="Try again, or ask whoever runs the registry or the proxy before it for ranges.",
                    ) from None
                _clear(partial)
                todo, resumed = [Part(0, 0, layer.size_bytes)], False
                continue
            found = yield from _digest(partial, layer)
            if found == layer.digest:
                break
            _clear(partial)
            if not resumed:
                raise SourceFailed(
                    f"digest mismatch: wanted {layer.digest}, got {found}",
                    hint="The file was changed or damaged on its way. Try again, or ask whoever runs the registry.",
                )
            todo, resumed = [], False  # what an earlier pull left was not a part of this blob
        partial.replace(final)
        files.sync_folder(final.parent)
        parts.forget(partial)


def _download(
    registry: Registry, layer: Layer, partial: Path, todo: list[Part], split: Split
) -> Generator[Progress, None, None]:
    status = _status(layer)
    with _Writer(partial, layer.size_bytes, todo) as writer:
        with Connections() as connections:
            work = _Work(registry, layer, writer, connections)
            connections.start(work.run, [part for part in todo if part.left_bytes], split.connections)
            while connections.are_busy(EVERY_S):
                yield Progress(status, layer.digest, layer.size_bytes, writer.completed_bytes)
        connections.check()
        yield Progress(status, layer.digest, layer.size_bytes, writer.completed_bytes)


class _Writer:
    """The partial file. Nothing is written to it once it is closed, whatever a connection still brings."""

    def __init__(self, path: Path, size_bytes: int, todo: list[Part]) -> None:
        self._path = path
        self._todo = todo
        self._size_bytes = size_bytes
        self._descriptor: int | None = None
        self._mutex = threading.Lock()
        self._noted = {part.number: part.completed_bytes for part in todo}

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        with room.guarded(self._path.parent):
            self._descriptor = os.open(self._path, flags, 0o644)
            if os.name != "nt":
                os.fchmod(self._descriptor, 0o644)  # whatever the umask: a team shares the folder
            os.ftruncate(self._descriptor, self._size_bytes)
            for part in self._todo:
                parts.note(self._path, part)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            descriptor, self._descriptor = self._descriptor, None
        assert descriptor is not None  # noqa: S101
        try:
            with room.guarded(self._path.parent):
                os.fsync(descriptor)
                for part in self._todo:
                    parts.note(self._path, part)
        finally:
            os.close(descriptor)

    @property
    def completed_bytes(self) -> int:
        """How much has arrived."""
        return sum(part.completed_bytes for part in self._todo)

    def write(self, part: Part, data: bytes) -> bool:
        """Add bytes to a part, and say whether the file still takes any. Raises NoRoom."""
        with self._mutex, room.guarded(self._path.parent, self._size_bytes - self.completed_bytes):
            if self._descriptor is None:
                return False
            os.lseek(self._descriptor, part.offset + part.completed_bytes, os.SEEK_SET)
            view = memoryview(data)
            while view:
                written = os.write(self._descriptor, view)
                part.completed_bytes += written
                view = view[written:]
            if part.completed_bytes - self._noted[part.number] >= NOTE_EVERY_BYTES:
                parts.note(self._path, part)
                self._noted[part.number] = part.completed_bytes
        return True


class _Work:
    """What each connection does."""

    def __init__(self, registry: Registry, layer: Layer, writer: _Writer, connections: Connections) -> None:
        self._registry = registry
        self._layer = layer
        self._writer = writer
        self._connections = connections
        self._patience = registry.patience

    def run(self, part: Part) -> None:
        """Bring one part, asking again where a try fails. Raises SourceFailed, NoRoom or _NoRanges."""
        failed = 0
        while part.left_bytes and not self._connections.is_over:
            before_bytes = part.completed_bytes
            try:
                self._try(part)
            except (_TryAgain, Away, httpx2.TransportError) as problem:
                gained_bytes = part.completed_bytes - before_bytes
                failed = 1 if gained_bytes >= ENOUGH_PROGRESS_BYTES else failed + 1
                if failed >= self._patience.tries:
                    why = str(problem) or type(problem).__name__
                    raise SourceFailed(
                        f"{self._registry.host}: {why} ({failed} times)", hint=_HINT
                    ) from problem
                self._connections.pause(self._patience.pause_s * 2 ** (failed - 1))

    def _try(self, part: Part) -> None:
        first, last = part.offset + part.completed_bytes, part.offset + part.size_bytes - 1
        is_all = part.left_bytes == self._layer.size_bytes
        headers = {} if is_all else {"Range": f"bytes={first}-{last}"}
        response = self._registry.get(f"blobs/{self._layer.digest}", headers)
        with closing(response), self._connections.using(response):
            if response.status_code in RETRIED:
                raise _TryAgain(f"the server answered {response.status_code}")
            if response.status_code not in (200, 206):
                raise self._registry.failed(response.status_code, f"blob {self._layer.digest[:19]}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise SourceFailed(f"{self._registry.host} packs what was asked for as it is")
            if response.status_code == 206:
                if is_all or content_range(response) != (first, last, self._layer.size_bytes):
                    raise SourceFailed(f"{self._registry.host} sent another range than was asked for")
            elif not is_all:
                raise _NoRanges
            self._receive(part, response)

    def _receive(self, part: Part, response: httpx2.Response) -> None:
        since_s, seen_bytes, stall_s = time.monotonic(), 0, self._patience.stall_s
        for chunk in response.iter_raw():
            if len(chunk) > part.left_bytes:
                raise SourceFailed(f"{self._registry.host} sent more than was asked for")
            if not self._writer.write(part, chunk):
                return
            seen_bytes += len(chunk)
            if (now_s := time.monotonic()) - since_s > stall_s:
                if seen_bytes < stall_s * SLOWEST_BYTES_PER_S:
                    raise _TryAgain("the server hardly sends anything")
                since_s, seen_bytes = now_s, 0
        if part.left_bytes:
            raise _TryAgain("the server sent less than was asked for")


def _digest(partial: Path, layer: Layer) -> Generator[Progress, None, str]:
    """Read what has arrived, telling at times that work goes on."""
    reading, pace = digest_of(partial), Pace()
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return str(end.value)
        if pace.is_due():
            os.utime(partial)  # a sign of life for another process that waits for this one
            yield Progress(_status(layer), layer.digest, layer.size_bytes, layer.size_bytes)


def _status(layer: Layer) -> str:
    return f"pulling {layer.digest.removeprefix('sha256:')[:12]}"


def _clear(partial: Path) -> None:
    parts.forget(partial)
    partial.unlink(missing_ok=True)


def _changed(partial: Path) -> int:
    try:
        return partial.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
