"""The bytes of a file that is brought to a server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from hutch.core.errors import BadInput

Source = str | Path | bytes  # where a file is, or its bytes
_BLOCK_BYTES = 1 << 20


def digest_of(source: Source) -> str:
    """`sha256:` and the digest. Raises BadInput where the file cannot be read."""
    sha256 = hashlib.sha256()
    for block in blocks(source):
        sha256.update(block)
    return f"sha256:{sha256.hexdigest()}"


def size_bytes_of(source: Source) -> int:
    """How many bytes there are. Raises BadInput where the file cannot be read."""
    if isinstance(source, bytes):
        return len(source)
    try:
        return Path(source).stat().st_size
    except (OSError, ValueError) as error:
        raise BadInput(f"{source} cannot be read: {error}") from error


def blocks(source: Source) -> Iterator[bytes]:
    """The bytes, in blocks. Raises BadInput where the file cannot be read."""
    if isinstance(source, bytes):
        yield source
        return
    try:
        with Path(source).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except (OSError, ValueError) as error:
        raise BadInput(f"{source} cannot be read: {error}") from error
