"""A source: a GGUF file on this machine, copied into the store. Never a device, a pipe or a folder."""

import stat
from collections.abc import Generator
from pathlib import Path

from hutch.core.errors import NotFound, SourceFailed
from hutch.core.models import Progress
from hutch.store import room
from hutch.store.blobs import Blobs
from hutch.store.wanted import Fetched, Wanted


def fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    """Copy the file. Raises NotFound, SourceFailed or NoRoom."""
    del insecure
    path = Path(wanted.location).expanduser()
    try:
        found = path.stat()
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", hint="Check the path.") from problem
    if not stat.S_ISREG(found.st_mode):
        raise SourceFailed(f"{path} is not a regular file", hint="Name the GGUF file itself.")
    with blobs.incoming() as partial:
        yield from partial.open()
        room.ensure(partial.path.parent, found.st_size)
        partial.needed_bytes = found.st_size
        try:
            yield from blobs.copy_file(path, partial, f"copying {path.name}")
        except OSError as problem:
            raise SourceFailed(f"{path}: {problem.strerror}") from problem
        return Fetched(partial.become_blob(wanted.digest), partial.size_bytes)
