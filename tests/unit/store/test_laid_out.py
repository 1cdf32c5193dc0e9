"""Folders of linked files, for workers."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from hutch.core.errors import FormatError
from hutch.core.models import ModelFile
from hutch.store import laid_out


@pytest.fixture
def files(tmp_path: Path) -> tuple[ModelFile, ...]:
    blobs = tmp_path / "models" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "sha256-a").write_text("graph")
    (blobs / "sha256-b").write_text("data")
    return ModelFile("model.onnx", blobs / "sha256-a"), ModelFile("onnx/data.bin", blobs / "sha256-b")


def test_files_are_linked_under_their_names(files: tuple[ModelFile, ...]) -> None:
    folder = laid_out.lay_out(files)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "onnx" / "data.bin").read_text() == "data"
    assert (folder / "model.onnx").stat().st_ino == files[0].path.stat().st_ino
    files[0].path.unlink()  # the model is removed while it is loaded
    assert (folder / "model.onnx").read_text() == "graph"
    laid_out.remove(folder)
    assert not folder.parent.exists()


def test_every_worker_has_a_folder_of_its_own(files: tuple[ModelFile, ...]) -> None:
    first, second = laid_out.lay_out(files), laid_out.lay_out(files)
    laid_out.remove(first)
    assert (second / "model.onnx").is_file()
    laid_out.remove(second)


def test_without_hard_links_there_are_symbolic_ones(
    files: tuple[ModelFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    folder = laid_out.lay_out(files)
    assert (folder / "model.onnx").is_symlink()
    assert (folder / "model.onnx").read_text() == "graph"
    laid_out.remove(folder)
    assert files[0].path.is_file()


def test_where_the_model_folder_cannot_be_written_another_is_taken(
    files: tuple[ModelFile, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "models" / ".loaded").write_text("in the way")
    folder = laid_out.lay_out(files)
    assert folder.parent == tmp_path / "tmp"
    laid_out.remove(folder)
    assert (tmp_path / "tmp").is_dir()


def test_folders_of_servers_that_were_killed_are_swept(files: tuple[ModelFile, ...]) -> None:
    folder = laid_out.lay_out(files)
    pid = str(os.getpid())
    left = folder.with_name(folder.name.replace(f"-{pid}-", "-999999999-"))
    left.mkdir()
    (left / "model.onnx").write_text("x")
    other = laid_out.lay_out(files)
    assert not left.exists()
    assert folder.exists()
    for each in (folder, other):
        laid_out.remove(each)


def test_the_folder_may_go_while_another_one_is_made_in_it(
    files: tuple[ModelFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, make = laid_out.lay_out(files), tempfile.mkdtemp

    def after_its_end(*, prefix: str, dir: Path) -> str:  # noqa: A002
        laid_out.remove(first)
        monkeypatch.setattr(tempfile, "mkdtemp", make)
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", after_its_end)
    second = laid_out.lay_out(files)
    assert (second.parent, (second / "model.onnx").read_text()) == (first.parent, "graph")


def test_another_server_may_sweep_at_the_same_time(
    files: tuple[ModelFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, see = laid_out.lay_out(files), Path.lstat

    def swept(path: Path) -> os.stat_result:
        if path == first:
            laid_out.remove(first)
        return see(path)

    monkeypatch.setattr(Path, "lstat", swept)
    assert laid_out.lay_out(files).parent == first.parent


@pytest.mark.parametrize("name", ["../x", "/x", "a//b"])
def test_no_file_is_laid_out_elsewhere(files: tuple[ModelFile, ...], name: str) -> None:
    with pytest.raises(FormatError):
        laid_out.lay_out((ModelFile(name, files[0].path),))
