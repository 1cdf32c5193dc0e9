"""The source of llama.cpp: in the source package of a Python binding, fetched with pip's own settings."""

import contextlib
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from hutch import places
from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.store import room
from hutch.store.blobs import Blobs
from hutch.store.pace import Pace
from hutch.store.sources import pip_settings
from hutch.store.sources.wheels import Wheels
from hutch.store.wanted import Member

PACKAGE = Member(
    "llama-cpp-python",
    "0.3.36",
    "vendor/llama.cpp",
    wheel_digest="sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
)
NAME = f"{PACKAGE.package} {PACKAGE.version}"
_MAX_BYTES = 1 << 30  # of all that is unpacked; it is 200 MB
_DAMAGED = (tarfile.TarError, zlib.error, EOFError, UnicodeError)


def fetch(root: Path, into: Path) -> Iterator[Progress]:
    """Have the source below `into`. What came of the package is kept where that fails, to go on with."""
    with (
        Wheels(Blobs(root), pip_settings.read(places.pip_environment()), is_source=True) as packages,
        contextlib.ExitStack() as until,
    ):
        archive = yield from packages.fetch(PACKAGE, _MAX_BYTES, until)
        archive.keep = True
        yield from unpack(archive.path, into)
        archive.keep = False


def unpack(archive: Path, into: Path) -> Iterator[Progress]:
    """Unpack the one folder that is needed. Raises SourceFailed for an archive that is damaged, or means harm."""
    pace, size_bytes = Pace(), 0
    try:
        with tarfile.open(archive, "r:gz") as package:
            for member in package:
                path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if not path.is_relative_to(PACKAGE.path):
                    continue
                size_bytes += member.size
                if size_bytes > _MAX_BYTES:
                    raise SourceFailed(f"the source of {NAME} unpacks to far too much")
                named = member.replace(name=str(path.relative_to(PACKAGE.path)))
                with room.guarded(into):
                    package.extract(named, into, filter="data")
                if pace.is_due():
                    yield Progress("unpacking the source")
    except _DAMAGED as problem:
        raise SourceFailed(f"the source package of {NAME} is damaged: {problem}") from problem
    if not (into / "CMakeLists.txt").is_file():
        raise SourceFailed(f"the source package of {NAME} holds no {PACKAGE.path}")
