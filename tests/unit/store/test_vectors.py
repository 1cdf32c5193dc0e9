"""Vectors of documents: kept, read back, and pruned with what they were made of."""

from pathlib import Path

import pytest

from hutch.store import layout, vectors
from hutch.store.store import ModelStore
from tests.unit.store.things import add_model, blob_names

_NAME = vectors.name_of(Path("sha256-" + "a" * 64), Path("sha256-" + "b" * 64), "200-40")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert vectors.read(tmp_path, _NAME, 2) is None
    vectors.write(tmp_path, _NAME, bytes(24))
    assert vectors.read(tmp_path, _NAME, 2) == bytes(24)
    assert vectors.read(tmp_path, _NAME, 3) == bytes(24)


@pytest.mark.parametrize("data", [b"", bytes(20)])
def test_what_is_no_table_of_so_many_rows_is_not_used(tmp_path: Path, data: bytes) -> None:
    vectors.write(tmp_path, _NAME, data)
    assert vectors.read(tmp_path, _NAME, 2) is None


def test_a_name_tells_what_it_was_made_of() -> None:
    assert vectors.digests_of(_NAME) == ("sha256:" + "a" * 64, "sha256:" + "b" * 64)
    assert vectors.digests_of("sha256") == ()


def test_prune_takes_vectors_of_what_is_gone(store: ModelStore) -> None:
    add_model(store, "kept")
    hexes = [each.removeprefix("sha256-") for each in blob_names(store)]
    kept = f"{hexes[0]}-{hexes[1]}-200-40"
    for name in (kept, _NAME, f"{hexes[0]}-{'b' * 64}-200-40", layout.temporary_name()):
        vectors.write(store.root, name, bytes(8))
    store.prune(store.prune_plan())
    assert [each.name for each in layout.vectors_folder(store.root).iterdir()] == [kept]
