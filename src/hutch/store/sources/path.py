"""A source: a GGUF file or an ONNX folder on this machine, copied into the store. Never a device or a pipe."""

import stat
from collections.abc import Generator
from pathlib import Path

from hutch.core.errors import NotFound, SourceFailed
from hutch.core.models import Progress
from hutch.store import onnx_folder, room
from hutch.store.blobs import Blobs
from hutch.store.wanted import Fetched, Wanted


def fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    """Copy the file, or those of the folder. Raises NotFound, SourceFailed or NoRoom."""
    del insecure
    path = Path(wanted.location).expanduser()
    try:
        found = path.stat()
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", hint="Check the path.") from problem
    if stat.S_ISDIR(found.st_mode) and onnx_folder.is_one(path):
        files = onnx_folder.files_in(path)
        digests = []
        for name, file in files.items():
            digest, _ = yield from _copied(file, file.stat().st_size, None, blobs)
            digests.append((name, digest))
        return Fetched(files=tuple(digests))
    if not stat.S_ISREG(found.st_mode):
        raise SourceFailed(
            f"{path} is not a regular file", hint="Name the GGUF file itself, or a folder of ONNX."
        )
    return Fetched(*(yield from _copied(path, found.st_size, wanted.digest, blobs)))


def _copied(
    path: Path, size_bytes: int, wanted: str | None, blobs: Blobs
) -> Generator[Progress, None, tuple[str, int]]:
    with blobs.incoming() as partial:
        yield from partial.open()
        room.ensure(partial.path.parent, size_bytes)
        partial.needed_bytes = size_bytes
        try:
            yield from blobs.copy_file(path, partial, f"copying {path.name}")
        except OSError as problem:
            raise SourceFailed(f"{path}: {problem.strerror}") from problem
        return partial.become_blob(wanted), partial.size_bytes
