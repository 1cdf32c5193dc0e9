"""Fixtures of tests with processes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import clean_environment, free_port


@pytest.fixture
def hutch(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    environment = clean_environment(HUTCH_HOME=str(tmp_path / "home"), HUTCH_HOST=f"127.0.0.1:{free_port()}")

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "hutch", *words],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run
