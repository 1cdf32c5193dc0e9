"""The parts of one blob on its way, and the notes beside its partial file by which a later pull goes on.

File and notes are Ollama's: `sha256-<hex>-partial` at full length, and `sha256-<hex>-partial-<N>` for each part.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch.core.errors import FormatError
from hutch.store import layout
from hutch.store.blobs import Blobs

_MAX_NOTE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Split:
    """How a blob is cut up: so many connections, and parts that are worth one."""

    connections: int = 16
    min_bytes: int = 100_000_000
    max_bytes: int = 1_000_000_000


@dataclass(slots=True)
class Part:
    """A stretch of a blob, and how much of it has arrived."""

    number: int
    offset: int
    size_bytes: int
    completed_bytes: int = 0

    @property
    def left_bytes(self) -> int:
        """How much is still to come."""
        return self.size_bytes - self.completed_bytes


def plan(size_bytes: int, split: Split) -> list[Part]:
    """Cut up a blob."""
    part_bytes = min(max(size_bytes // split.connections, split.min_bytes), split.max_bytes)
    offsets = range(0, size_bytes, part_bytes)
    return [
        Part(number, offset, min(part_bytes, size_bytes - offset)) for number, offset in enumerate(offsets)
    ]


def partial_path(blobs: Blobs, digest: str) -> Path:
    """Where a blob grows."""
    final = blobs.path(digest)
    return final.with_name(final.name + layout.PARTIAL_SUFFIX)


def noted(partial: Path, size_bytes: int) -> list[Part]:
    """The parts that an earlier pull left. None where its notes are not of this very blob, all of it."""
    found = sorted(filter(None, map(_read, _notes(partial))), key=lambda part: part.offset)
    ends = [0, *(part.offset + part.size_bytes for part in found)]
    is_whole = [part.offset for part in found] == ends[:-1] and ends[-1] == size_bytes
    if not (found and is_whole and partial.is_file() and partial.stat().st_size == size_bytes):
        return []
    return found


def note(partial: Path, part: Part) -> None:
    """Write down how far a part is."""
    said = {
        "N": part.number,
        "Offset": part.offset,
        "Size": part.size_bytes,
        "Completed": part.completed_bytes,
    }
    file = partial.with_name(f"{partial.name}-{part.number}")
    aside = partial.with_name(layout.temporary_name())
    aside.write_text(json.dumps(said), encoding="utf-8")
    aside.replace(file)


def forget(partial: Path) -> None:
    """Remove the notes."""
    for file in _notes(partial):
        file.unlink(missing_ok=True)


def _notes(partial: Path) -> Sequence[Path]:
    return [
        file for file in partial.parent.glob(f"{partial.name}-*") if file.name.rpartition("-")[2].isdigit()
    ]


def _read(file: Path) -> Part | None:
    try:
        said = json.loads(layout.read_bounded(file, _MAX_NOTE_BYTES))
        numbers = [said[key] for key in ("N", "Offset", "Size", "Completed")]
    except (OSError, ValueError, KeyError, TypeError, FormatError, RecursionError):
        return None
    if not all(type(number) is int for number in numbers):
        return None
    part = Part(*numbers)
    is_sound = part.offset >= 0 and part.size_bytes > 0 and 0 <= part.completed_bytes <= part.size_bytes
    return part if is_sound else None
