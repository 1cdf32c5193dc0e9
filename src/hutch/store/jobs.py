"""A job: making blobs and then naming them, so that nothing still wanted is swept away and nothing unwanted stays.

A job holds the lock on jobs, shared, from before it looks at the first blob until a manifest names them all. A sweep
takes that lock alone. What a job made and nobody names, and what it put out of use, is swept when it ends, however
it ends; where another job is running it is left for `prune`.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from hutch.core.errors import Conflict, FormatError
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.store import layout, manifests, room, sweep
from hutch.store.lock import Lock

WAIT_S = 30.0
_JOBS = "jobs"
_MANIFESTS = "manifests"
_log = logging.getLogger(__name__)


class Job:
    """One job on a model folder."""

    def __init__(self, root: Path) -> None:
        self.created: set[str] = set()  # blobs that were not there before
        self.replaced: frozenset[str] = frozenset()  # what the name stood for before
        self.has_swept = False
        self._root = root
        self._lock = Lock(root, _JOBS, shared=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if digests := self.created | self.replaced:
            self.has_swept = sweep_blobs(self._root, digests)

    def begin(self) -> Iterator[Progress]:
        """Keep sweeps away from now on."""
        yield from self._lock.wait("pruning the store", WAIT_S)

    def name(self, name: ModelName, data: bytes, *, replace: bool) -> ModelName:
        """Let a name stand for a manifest. Raises Conflict where it stands for another and may not be replaced."""
        with naming(self._root):
            known = manifests.find(self._root, name) or name
            old = readable(self._root, known)
            if old is not None and old.digest == hashlib.sha256(data).hexdigest():
                return known
            if old is not None and not replace:
                raise other_content(known)
            write(self._root, known, data)
            self.replaced = old.digests if old else frozenset()
        return known


def naming(root: Path) -> Lock:
    """The lock under which names change, taken."""
    lock = Lock(root, _MANIFESTS)
    lock.acquire("changing names in the store", WAIT_S)
    return lock


def write(root: Path, name: ModelName, data: bytes) -> None:
    """Let a name stand for a manifest, under the lock. Raises NoRoom."""
    folder = layout.manifests_folder(root)
    with room.guarded(folder, len(data)):
        folder.mkdir(parents=True, exist_ok=True)
        manifests.write(root, name, data)


def sweep_blobs(root: Path, digests: Iterable[str]) -> bool:
    """Remove those of these blobs that no name needs, unless a job is running. Says whether there were any."""
    with Lock(root, _JOBS) as lock:
        if not lock.try_acquire():
            return False
        with naming(root):
            try:
                return sweep.remove_unreferenced(root, digests)
            except Conflict as problem:
                _log.warning("%s", problem.message)
                return False


def prune(root: Path, listed: Iterable[sweep.Leftover]) -> list[sweep.Leftover]:
    """Remove what was listed and still nobody needs, and return it. Raises Conflict while a job is running."""
    shown = frozenset(listed)
    with Lock(root, _JOBS) as lock:
        lock.acquire("pulling or creating a model", WAIT_S)
        with naming(root):
            leftovers = [each for each in sweep.plan(root) if each in shown]
            sweep.remove(root, leftovers)
            sweep.remove_locks(root, keep=(_JOBS, _MANIFESTS))
    return leftovers


def readable(root: Path, name: ModelName) -> manifests.Manifest | None:
    """What a name stands for; None where there is nothing, or nothing that can be read."""
    try:
        return manifests.read(root, name)
    except FormatError:
        return None


def has_weights(root: Path, name: ModelName, digest: str | None) -> bool:
    """Whether a name stands for these weights. Raises Conflict where it stands for others."""
    manifest = readable(root, name)
    if manifest is None or digest is None:
        return False
    if [layer.digest for layer in manifest.of_kind("model")] != [digest]:
        raise other_content(name)
    return True


def refuse_taken(root: Path, name: ModelName) -> None:
    """Raise Conflict where a name stands for a model already."""
    if readable(root, name) is not None:
        raise Conflict(
            f"model '{name.short}' exists, and what the source has is not known before it is fetched",
            hint="Fetch and replace it with --replace, or choose another name.",
        )


def other_content(name: ModelName) -> Conflict:
    """The refusal to replace a model."""
    return Conflict(
        f"model '{name.short}' exists with other content",
        hint="Replace it with --replace, or choose another name.",
    )
