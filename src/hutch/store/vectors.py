"""Vectors of documents, kept in the model folder so that each is computed once: `.vectors/<model>-<document>-<cut>`.

A file's name says what was embedded by what, by SHA-256 of both blobs, and how the document was cut; so nothing here
ever has to be changed, and what names nothing any more is left to `prune`.
"""

from pathlib import Path

from hutch import files
from hutch.store import layout, room

_FLOAT_BYTES = 4
_MAX_BYTES = 1 << 30


def read(root: Path, name: str, num_rows: int) -> bytes | None:
    """Rows of 32-bit numbers, little-endian; None where there are none, or not such as can be used."""
    try:
        data = layout.read_bounded(layout.vectors_folder(root) / name, _MAX_BYTES)
    except OSError:
        return None
    return data if data and len(data) % (num_rows * _FLOAT_BYTES) == 0 else None


def write(root: Path, name: str, data: bytes) -> None:
    """Keep what `read` is to find. Raises NoRoom or Forbidden."""
    folder = layout.vectors_folder(root)
    with room.guarded(folder, len(data)):
        files.write_whole(folder / name, data, folder / layout.temporary_name(), 0o644)


def name_of(weights: Path, document: Path, cut: str) -> str:
    """The name for what a model with these weights makes of a document. Both are blobs."""
    return f"{_hex(weights)}-{_hex(document)}-{cut}"


def digests_of(name: str) -> tuple[str, ...]:
    """The digests that a name was made of; none where it is no such name."""
    model, _, rest = name.partition("-")
    document = rest.partition("-")[0]
    return (f"sha256:{model}", f"sha256:{document}") if document else ()


def _hex(blob: Path) -> str:
    return blob.name.removeprefix("sha256-")
