"""Fixtures of the runtime's tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith(("HUTCH_", "OLLAMA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
