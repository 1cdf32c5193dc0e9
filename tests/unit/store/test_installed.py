"""Which engines there are, and which is in use."""

from pathlib import Path

import pytest

from hutch.core.errors import BadInput, Conflict, EngineFailed, NotFound
from hutch.store import installed
from hutch.store.installed import Engine


def put(root: Path, name: str, kind: str = "cpu") -> Path:
    built = root.parent / "built"
    built.mkdir(exist_ok=True)
    for program in installed.PROGRAMS:
        (built / program).write_text("#!/bin/sh\n")
    (root / name).mkdir(parents=True, exist_ok=True)
    installed.install(root, name, kind, "llama-cpp-python 1", built)
    return root / name / "llama-server"


def test_without_any_the_one_that_comes_with_hutch_is_used(tmp_path: Path) -> None:
    root = tmp_path / "absent"
    assert installed.engines(root, None) == [Engine("default", "wheel", "", in_use=True)]
    assert installed.binary_in_use(root, None) == ""
    installed.use(tmp_path, "default")
    assert not root.exists()


def test_a_built_one_is_used_once_it_is_chosen(tmp_path: Path) -> None:
    root = tmp_path / "engines"
    path = put(root, "cpu")
    assert installed.binary_in_use(root, None) == ""
    installed.use(root, "cpu")
    assert installed.binary_in_use(root, None) == str(path)
    assert installed.engines(root, None) == [
        Engine("default", "wheel", "", in_use=False),
        Engine("cpu", "cpu", str(path), in_use=True),
    ]
    installed.use(root, "default")
    assert installed.binary_in_use(root, None) == ""


def test_the_settings_go_over_what_was_chosen(tmp_path: Path) -> None:
    root, named = tmp_path / "engines", Path("/opt/llama-server")
    put(root, "cpu")
    installed.use(root, "cpu")
    assert installed.binary_in_use(root, named) == "/opt/llama-server"
    used = [engine for engine in installed.engines(root, named) if engine.in_use]
    assert used == [Engine("configured", "path", "/opt/llama-server", in_use=True)]


@pytest.mark.parametrize(
    "name", ["", "default", "configured", "in-use", "blobs", "../x", "a/b", "A", "x" * 65, "-x"]
)
def test_some_names_cannot_be_an_engines(name: str) -> None:
    with pytest.raises(BadInput, match="cannot name an engine"):
        installed.checked_name(name)


def test_only_what_is_there_can_be_chosen_or_removed(tmp_path: Path) -> None:
    put(tmp_path, "cpu")
    (tmp_path / "half").mkdir()  # a build that was killed
    for act in (installed.use, installed.remove):
        for name in ("half", "gpu", "../cpu"):
            with pytest.raises(NotFound, match="not found"):
                act(tmp_path, name)
    with pytest.raises(NotFound):
        installed.remove(tmp_path, "default")


def test_an_engine_in_use_is_not_removed(tmp_path: Path) -> None:
    put(tmp_path, "cpu")
    installed.use(tmp_path, "cpu")
    with pytest.raises(Conflict, match="in use"):
        installed.remove(tmp_path, "cpu")
    installed.use(tmp_path, "default")
    installed.remove(tmp_path, "cpu")
    assert not (tmp_path / "cpu").exists()


def test_a_chosen_engine_that_is_gone_is_an_error_and_not_another_engine(tmp_path: Path) -> None:
    put(tmp_path, "cpu").unlink()
    installed.use(tmp_path, "cpu")
    with pytest.raises(EngineFailed, match=r"'cpu' is chosen, and .* cannot be run"):
        installed.binary_in_use(tmp_path, None)
    (tmp_path / "in-use").write_text("../../bin\n")
    with pytest.raises(EngineFailed, match="names no engine"):
        installed.binary_in_use(tmp_path, None)


@pytest.mark.parametrize("record", [b"", b"{}", b"[1]", b'{"kind":', b"\xff"])
def test_a_damaged_record_is_told(tmp_path: Path, record: bytes) -> None:
    put(tmp_path, "cpu")
    (tmp_path / "cpu" / "engine.json").write_bytes(record)
    with pytest.raises(EngineFailed, match="damaged"):
        installed.engines(tmp_path, None)
