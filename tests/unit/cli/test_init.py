"""`hutch init`."""

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from hutch import config
from hutch.cli import commands, doctor, init
from hutch.cli.doctor import Check

GB = 10**9


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and no looks at this machine's engines."""
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(doctor, "checks", lambda: [Check("memory", "warn", "little", "Close programs.")])
    return tmp_path / "home"


def run(*words: str) -> int:
    return init.init(commands.parse(commands.find("init"), list(words)))


def test_writes_settings_once_and_suggests_a_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr().out
    assert f"settings: {home / 'hutch.toml'} written\n" in said
    assert "warn: memory: little\n      → Close programs.\n" in said
    (home / "hutch.toml").write_text("num_parallel = 2\n")
    assert run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"] == {"path": str(home / "hutch.toml"), "written": False}
    assert (home / "hutch.toml").read_text() == "num_parallel = 2\n"
    assert told["machine"]["memory_bytes"] > 0


def test_a_check_that_fails_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda: [Check("engine", "fail", "gone", "Install it.")])
    assert run() == 1


def test_a_link_to_nowhere_is_not_written_through(home: Path) -> None:
    home.mkdir()
    (home / "hutch.toml").symlink_to(home / "elsewhere")
    assert run() == 0
    assert not (home / "elsewhere").exists()


def test_the_settings_that_are_written_are_all_there_are_and_mean_what_counts_without_them() -> None:
    text = files("hutch.cli").joinpath("settings.toml").read_text("utf-8")
    assert tomllib.loads(text) == {}
    lines = [line.removeprefix("# ") for line in text.splitlines() if " = " in line and line.startswith("# ")]
    said = tomllib.loads("\n".join(lines))
    assert set(said) == set(config.Settings.model_fields)
    config.Settings(**said)


MODELS = (
    init.Suggestion("tiny", 100 * 10**6, 600 * 10**6, 135 * 10**6),
    init.Suggestion("small", 2 * GB, 3 * GB, 3 * GB),
    init.Suggestion("large", 9 * GB, 12 * GB, 14 * GB),
)


@pytest.mark.parametrize(
    ("free_bytes", "num_cores", "has_gpu", "model"),
    [
        (100 * 10**6, 2, False, None),
        (2 * GB, 2, False, "tiny"),
        (24 * GB, 2, False, "small"),
        (24 * GB, 1, False, "tiny"),
        (24 * GB, 16, False, "large"),
        (24 * GB, 2, True, "large"),
        (8 * GB, 8, True, "small"),
    ],
)
def test_suggests_the_largest_model_that_runs_well(
    free_bytes: int, num_cores: int, has_gpu: bool, model: str | None
) -> None:
    found = init.suggestion(MODELS, free_bytes, num_cores, has_gpu=has_gpu)
    assert (found.model if found else None) == model


def test_the_catalog_has_models_to_suggest() -> None:
    names = {each.model for each in init.known_models()}
    assert {"smollm2:135m", "gemma3:270m"} <= names
