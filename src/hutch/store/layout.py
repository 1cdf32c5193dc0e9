"""Where things lie in the model folder, and the bytes of one file there, read with a bound.

Ollama's layout: `blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>`. Imports little: listings use it.
"""

import functools
import os
import stat
from pathlib import Path

from hutch.core.errors import BadInput, FormatError
from hutch.core.names import ModelName

PARTIAL_SUFFIX = "-partial"
TEMPORARY_PREFIX = "incoming-"  # no one can go on with such a file: its writer made the name up
_MAX_FILE_NAME_CHARS = 255


def blobs_folder(root: Path) -> Path:
    """The folder of the blobs."""
    return root / "blobs"


def manifests_folder(root: Path) -> Path:
    """The folder of the manifests."""
    return root / "manifests"


def locks_folder(root: Path) -> Path:
    """The folder of the lock files, which Ollama does not know."""
    return root / ".locks"


def vectors_folder(root: Path) -> Path:
    """The folder of documents' vectors, which Ollama does not know."""
    return root / ".vectors"


def blob_path(root: Path, digest: str) -> Path:
    """Where a blob lies. `digest` is canonical, as parse_digest returns it."""
    return root / "blobs" / digest.replace(":", "-")


@functools.lru_cache(maxsize=256)  # every request looks whether its name still means the same
def manifest_path(root: Path, name: ModelName) -> Path:
    """Where a model's manifest lies. A checked name cannot lead out of the folder. Raises BadInput."""
    if max(map(len, name)) > _MAX_FILE_NAME_CHARS:  # a host may be longer than file systems allow
        raise BadInput(f"the name {name.short[:50]}… is too long to be stored")
    return root.joinpath("manifests", *name)


def temporary_name() -> str:
    """A file name that nobody else uses."""
    return f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}{PARTIAL_SUFFIX}"


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Read a regular file that may have at most so many bytes. Raises OSError, and FormatError beyond the limit."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:  # O_NONBLOCK: opening a pipe must not wait for its writer
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FormatError(f"{path} is not a regular file")
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise FormatError(f"{path} has more than {limit_bytes} bytes")
    return data
