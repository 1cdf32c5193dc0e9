"""What in the model folder no name needs, and its removal."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hutch.core.errors import BadInput, Conflict, FormatError
from hutch.core.names import parse_digest
from hutch.store import layout, manifests, vectors

PARTIAL_AGE_S = 24 * 3600.0  # a younger partial download is left, so that it can go on
BLOB_AGE_S = 3600.0  # a younger blob is left: one is uploaded first, and then a create names it


class Leftover(NamedTuple):
    """A file that prune would remove. `path` is relative to the model folder."""

    path: str
    size_bytes: int


def plan(root: Path) -> list[Leftover]:
    """List what nobody needs. Raises Conflict where a manifest cannot be read, for it may name anything."""
    needed = referenced(root)
    now_s = time.time()
    found = [
        Leftover(_relative(root, entry), entry.stat(follow_symlinks=False).st_size)
        for entry in _files(layout.blobs_folder(root))
        if _is_leftover(entry, needed, now_s)
    ]
    found += [
        Leftover(_relative(root, entry), entry.stat(follow_symlinks=False).st_size)
        for entry in _files(layout.manifests_folder(root))
        if entry.name.startswith(f".{layout.TEMPORARY_PREFIX}")
    ]
    found += [
        Leftover(_relative(root, entry), entry.stat(follow_symlinks=False).st_size)
        for entry in _files(layout.vectors_folder(root))
        if entry.name.startswith(layout.TEMPORARY_PREFIX)
        or not needed.issuperset(vectors.digests_of(entry.name) or (entry.name,))
    ]
    return sorted(found)


def referenced(root: Path) -> set[str]:
    """Every digest that a manifest names. Raises Conflict where one cannot be read."""
    digests: set[str] = set()
    for name in manifests.names(root):
        try:
            digests |= manifests.read(root, name).digests
        except FormatError as problem:
            raise Conflict(
                f"nothing is removed while a manifest cannot be read: {problem.message}",
                hint="Remove that manifest file, then try again.",
            ) from problem
    return digests


def remove(root: Path, leftovers: Iterable[Leftover]) -> None:
    """Remove these files. The caller holds the lock on jobs alone."""
    for leftover in leftovers:
        (root / leftover.path).unlink(missing_ok=True)


def remove_locks(root: Path, keep: tuple[str, ...]) -> None:
    """Remove the lock files of writers that are gone."""
    for entry in _files(layout.locks_folder(root)):
        if entry.name not in keep:
            Path(entry.path).unlink(missing_ok=True)


def remove_unreferenced(root: Path, digests: Iterable[str]) -> bool:
    """Remove those of these blobs that no manifest names, and say whether there were any."""
    needed = referenced(root)
    unneeded = [
        path
        for digest in digests
        if digest not in needed and (path := layout.blob_path(root, digest)).is_file()
    ]
    for path in unneeded:
        path.unlink(missing_ok=True)
    return bool(unneeded)


def _is_leftover(entry: os.DirEntry[str], needed: set[str], now_s: float) -> bool:
    if entry.name.startswith(layout.TEMPORARY_PREFIX):
        return True  # whoever made it up is gone
    age_s = now_s - entry.stat(follow_symlinks=False).st_mtime
    if layout.PARTIAL_SUFFIX in entry.name:  # Ollama's -partial-3 too
        return age_s > PARTIAL_AGE_S
    try:
        return parse_digest(entry.name) not in needed and age_s > BLOB_AGE_S
    except BadInput:
        return False  # not ours


def _files(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _relative(root: Path, entry: os.DirEntry[str]) -> str:
    return Path(entry.path).relative_to(root).as_posix()
