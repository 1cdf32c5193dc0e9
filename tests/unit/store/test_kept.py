"""States on disk: within their bound, whole, and gone with their model."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hutch.core.errors import NoRoom
from hutch.store import kept
from hutch.store.store import ModelStore
from tests.unit.store.things import TINY, add_model

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "kv"


def _put(root: Path, digest: str = ONE, scope: str = "anna", size: int = 10, bound: int = 25) -> Path:
    before = set(kept.named(root / digest / scope))
    kept.put(root / digest / scope, size, bound, [bytes(size)])
    (path,) = set(kept.named(root / digest / scope)) - before
    return path


def _used(path: Path, at: float) -> Path:
    os.utime(path, (at, at))
    return path


def test_a_state_is_found_by_its_scope_alone(root: Path) -> None:
    path = _put(root)
    assert kept.named(root / ONE / "anna") == [path]
    assert kept.named(root / ONE / "ann") == kept.named(root / TWO / "anna") == []
    assert path.read_bytes() == bytes(10)


def test_it_is_for_this_user_alone(root: Path) -> None:
    path = _put(root)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_used_longest_ago_makes_room(root: Path) -> None:
    first, second = _used(_put(root), 20), _used(_put(root, TWO), 10)
    third = _put(root)
    assert not second.exists()
    assert kept.size_bytes(root) == 20
    assert {first, third} == set(kept.named(root / ONE / "anna"))


def test_what_is_larger_than_the_bound_costs_the_others_nothing(root: Path) -> None:
    path = _put(root)
    with pytest.raises(NoRoom):
        _put(root, size=26)
    assert path.exists()


def test_what_breaks_off_leaves_nothing(root: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        kept.put(root / ONE / "anna", 10, 25, pieces())
    assert list((root / ONE).iterdir()) == []


def test_what_killed_writers_left_is_swept(root: Path) -> None:
    path = _put(root)
    dead, living = path.with_name(f".{2**22 + 1}-aa"), path.with_name(f".{os.getpid()}-aa")
    for half in (dead, living):
        half.write_bytes(b"half")
    kept.sweep(root)
    assert not dead.exists()
    assert living.exists()
    assert path.exists()


def test_states_go_with_the_last_name_of_their_model(store: ModelStore) -> None:
    add_model(store)
    root = Path(os.environ["HUTCH_HOME"], "kv")
    path = _put(root, store.open(TINY).stored.digest)
    other = TINY._replace(model="other")
    store.copy(TINY, other)
    store.delete(TINY)
    assert path.exists()
    store.delete(other)
    assert not path.exists()


def test_states_of_models_that_are_not_here_are_left_over(store: ModelStore, root: Path) -> None:
    add_model(store)
    here, gone = _put(root, store.open(TINY).stored.digest), _put(root)
    listed = kept.leftovers(root, store.root)
    assert [(each.path, each.size_bytes) for each in listed] == [(str(gone), 10)]
    assert kept.prune(root, store.root, []) == []
    assert kept.prune(root, store.root, listed) == listed
    assert not gone.exists()
    assert here.exists()
