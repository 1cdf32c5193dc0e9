"""The server that `hutch run` starts: its log, and what is said."""

import sys
from pathlib import Path

import pytest

from hutch import places
from hutch.cli import background, side


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    monkeypatch.setenv("HUTCH_HOST", "127.0.0.1:9")
    monkeypatch.setattr(sys, "executable", "/bin/true")


@pytest.mark.parametrize(("size_bytes", "is_moved"), [(8 << 20, False), ((8 << 20) + 1, True)])
def test_a_long_log_is_put_aside(size_bytes: int, is_moved: bool) -> None:
    log = places.server_log()
    log.parent.mkdir()
    log.write_bytes(bytes(size_bytes))
    log.with_name("server.log.1").write_bytes(b"older")
    background._start().wait(10)
    assert log.stat().st_size == (0 if is_moved else size_bytes)
    assert log.with_name("server.log.1").stat().st_size == (size_bytes if is_moved else len(b"older"))


def test_a_server_that_this_command_starts_has_its_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUTCH_NUM_PARALLEL", "2")
    side.note_settings.cache_clear()
    answers = iter([False, False, True])
    monkeypatch.setattr(side, "is_answering", lambda: next(answers))
    monkeypatch.setattr(background, "_start", _Running)
    background.ensure()
    assert "note:" not in capsys.readouterr().err


class _Running:
    returncode: int | None = None

    def poll(self) -> None:
        """It runs."""
