"""Where the secret comes from, and what is said where there is none."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hutch.security import sealing_key


class Trouble(Exception):
    """What a keyring raises."""


class Ring(dict[tuple[str, str], str]):
    """A keyring that keeps what it is given."""

    errors = SimpleNamespace(KeyringError=Trouble)

    def get_password(self, service: str, name: str) -> str | None:
        """What it has."""
        return self.get((service, name))

    def set_password(self, service: str, name: str, text: str) -> None:
        """Keep it."""
        self[service, name] = text


class Forgetful(Ring):
    """A keyring that keeps nothing."""

    def set_password(self, service: str, name: str, text: str) -> None:
        """Forget it."""


class Locked(Ring):
    """A keyring that nobody opens."""

    def get_password(self, service: str, name: str) -> str | None:
        """No."""
        raise Trouble


def _file(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_file_of_32_bytes_is_a_key(tmp_path: Path) -> None:
    found = sealing_key.find(_file(tmp_path, bytes(range(32))))
    assert found == (bytes(range(32)), f"the key in {tmp_path / 'key'}", "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_that_others_may_read_is_used_and_told(tmp_path: Path, mode: int) -> None:
    found = sealing_key.find(_file(tmp_path, bytes(32), mode))
    assert found.secret == bytes(32)
    assert "others may read" in found.remark


@pytest.mark.parametrize("size", [0, 31, 4097])
def test_a_file_of_another_size_is_none(tmp_path: Path, size: int) -> None:
    found = sealing_key.find(_file(tmp_path, bytes(size)))
    assert found.secret is None
    assert "a key has from 32 to 4,096" in found.told


def test_what_is_no_file_is_none_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent"):
        assert sealing_key.find(path).secret is None


def test_a_keyring_gets_a_key_once_and_gives_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    found = sealing_key.find(None)
    assert found.secret is not None
    assert len(found.secret) == 64
    assert sealing_key.find(None) == found
    assert len(ring) == 1


@pytest.mark.parametrize(
    ("ring", "words"),
    [(Locked(), "no keyring answers"), (Forgetful(), "keeps nothing"), (None, "not installed")],
)
def test_without_a_keyring_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, ring: Any, words: str) -> None:
    monkeypatch.setitem(sys.modules, "keyring", ring)
    found = sealing_key.find(None)
    assert found.secret is None
    assert words in found.told
