"""Fixtures of the store's tests."""

from pathlib import Path

import pytest

from hutch.store.store import ModelStore
from tests.unit.store.things import store_in


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no test asks a registry beyond this machine


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return store_in(tmp_path / "models")
