"""A tool that is called all day must feel instant."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import gguf_files
from tests.conftest import clean_environment, free_port
from tests.fake_ollama import Answer, model_row, serving

_AT_MOST = 6.0  # times what the interpreter takes to do nothing
_ROUNDS = 11
_HUTCH = str(Path(sys.executable).with_name("hutch"))
Words = tuple[str, ...]
_COMMANDS: tuple[Words, ...] = (("--help",), ("list",), ("ps",))


def _ratios(environment: Mapping[str, str]) -> dict[Words, float]:
    """Median wall times over that of an idle interpreter, measured in turns so that other load meets all alike."""
    commands: dict[Words, list[str]] = {words: [_HUTCH, *words] for words in _COMMANDS}
    commands[()] = [sys.executable, "-c", ""]
    times_s: dict[Words, list[float]] = {words: [] for words in commands}
    for _ in range(_ROUNDS):
        for words, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, env=dict(environment), capture_output=True, check=False)
            times_s[words].append(time.perf_counter() - began)
    idle_s = statistics.median(times_s[()])
    return {words: statistics.median(times_s[words]) / idle_s for words in _COMMANDS}


def _check(environment: Mapping[str, str]) -> None:
    """One good measurement of three is enough: noise only ever adds."""
    best = dict.fromkeys(_COMMANDS, float("inf"))
    for _ in range(3):
        best = {words: min(best[words], ratio) for words, ratio in _ratios(environment).items()}
        if max(best.values()) <= _AT_MOST:
            return
    pytest.fail(f"too slow, in times of an idle interpreter: {best}")


@pytest.mark.skipif(not os.access(_HUTCH, os.X_OK), reason="hutch is not installed beside this interpreter")
def test_short_commands_are_fast_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf_files.tiny_model())
    environment = clean_environment(HUTCH_HOME=str(tmp_path / "home"), HUTCH_HOST=f"127.0.0.1:{free_port()}")
    subprocess.run(
        [_HUTCH, "pull", str(tmp_path / "m.gguf")], env=environment, check=True, capture_output=True
    )
    _check(environment)


@pytest.mark.skipif(not os.access(_HUTCH, os.X_OK), reason="hutch is not installed beside this interpreter")
def test_short_commands_are_fast_with_a_server(tmp_path: Path) -> None:
    rows = [model_row(f"m{number}:latest", modified_at="2026-01-01T00:00:00Z") for number in range(20)]
    with serving(api_tags=Answer({"models": rows}), api_ps=Answer({"models": rows[:1]})) as fake:
        _check(clean_environment(HUTCH_HOME=str(tmp_path), HUTCH_HOST=fake.host))


def test_short_commands_import_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["rich", "prompt_toolkit", "httpx2", "pydantic", "fastapi", "asyncio", "http.client", "xllamacpp"]
    code = f"import sys; from hutch.cli.main import main; main(['list']); print([m for m in {heavy} if m in sys.modules])"
    environment = clean_environment(HUTCH_HOME=str(tmp_path), HUTCH_HOST=f"127.0.0.1:{free_port()}")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
