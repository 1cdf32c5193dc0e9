"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from hutch.files import write_whole


def test_a_file_takes_its_place_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    before = os.umask(0o077)
    try:
        write_whole(path, b"new", tmp_path / "aside", 0o644)
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o644)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_what_was_there_stays_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new", tmp_path / "aside", 0o600)
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == (b"old", [path])
