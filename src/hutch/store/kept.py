"""States of prompts on disk, sealed by whoever brings them: `kv/<digest of the model>/<scope>-<random>`.

A scope is a name for whom and what a state belongs to. The file used longest ago goes first where the bound is reached.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from hutch import files
from hutch.core.errors import NoRoom
from hutch.store import manifests
from hutch.store.sweep import Leftover

_TEMPORARY = re.compile(r"\.(\d+)-[0-9a-f]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def named(stem: Path) -> list[Path]:
    """The states whose names begin so: `root / digest / scope`."""
    return sorted(stem.parent.glob(f"{stem.name}-*"))


def put(stem: Path, size_bytes: int, max_bytes: int, pieces: Iterable[bytes]) -> None:
    """Write a state of about so many bytes; others go until all of them are within the bound. Raises NoRoom or OSError."""
    if size_bytes > max_bytes:
        raise NoRoom(f"{size_bytes:,} bytes are more than max_kv_disk allows")
    folder, unique = stem.parent, os.urandom(8).hex()
    _make_room(folder.parent, size_bytes, max_bytes)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / f".{os.getpid()}-{unique}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / f"{stem.name}-{unique}")
    except BaseException:
        remove(temporary)
        raise
    files.sync_folder(folder)


def remove(path: Path) -> None:
    """Remove a state, if it is there."""
    with contextlib.suppress(OSError):
        path.unlink()


def size_bytes(root: Path) -> int:
    """What all states take."""
    return sum(size for _, _, size in _everything(root))


def sweep(root: Path) -> None:
    """Remove what writers left that were killed."""
    for _, path, _ in _everything(root):
        half = _TEMPORARY.fullmatch(path.name)
        if half and not files.is_running(int(half[1])):
            remove(path)


def forget(root: Path, models: Path, digest: str) -> None:
    """Remove the states of a model, unless a name in the model folder still stands for it."""
    if digest in _present(models):
        return
    for path in (root / digest).glob("*"):
        remove(path)
    with contextlib.suppress(OSError):
        (root / digest).rmdir()


def leftovers(root: Path, models: Path) -> list[Leftover]:
    """The states of models that are not in the model folder, by their whole paths."""
    present = _present(models)
    return [
        Leftover(str(path), size) for _, path, size in _everything(root) if path.parent.name not in present
    ]


def prune(root: Path, models: Path, listed: Iterable[Leftover]) -> list[Leftover]:
    """Remove those of these files that are still left over, and return them."""
    shown = frozenset(listed)
    gone = [each for each in leftovers(root, models) if each in shown]
    for each in gone:
        remove(Path(each.path))
    return gone


def _make_room(root: Path, need_bytes: int, max_bytes: int) -> None:
    there = sorted(_everything(root))
    total_bytes = sum(size for _, _, size in there)
    for _, path, size in there:
        if total_bytes + need_bytes <= max_bytes:
            return
        remove(path)
        total_bytes -= size


def _everything(root: Path) -> list[tuple[float, Path, int]]:
    """Every file: when it was used last, where it is, its size."""
    found = []
    for folder in root.glob("*"):
        for path in folder.glob("*") if _DIGEST.fullmatch(folder.name) else ():
            with contextlib.suppress(OSError):
                info = path.lstat()
                found.append((info.st_mtime, path, info.st_size))
    return found


def _present(models: Path) -> set[str]:
    """The digests of all manifests. Raises FormatError."""
    return {
        hashlib.sha256(manifests.read_bytes(models, name)).hexdigest() for name in manifests.names(models)
    }
