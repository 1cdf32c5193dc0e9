"""`hutch config show`."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hutch import config
from hutch.cli import commands, configuration

Show = Callable[[], dict[str, Any]]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """What `--json` prints, in an environment that says nothing else."""
    for name in tuple(os.environ):
        if name.startswith(("HUTCH_", "OLLAMA_", "CUDA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))

    def show() -> dict[str, Any]:
        configuration.show(commands.parse(commands.find("config"), ["show", "--json"]))
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    return show


def row(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in (*told["settings"], *told["commands"]) if row["name"] == name)
    return found


def test_every_setting_is_shown_with_its_place(
    shown: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hutch.toml").write_text("num_parallel = 2")
    monkeypatch.setenv("OLLAMA_MAX_VRAM", "8G")
    monkeypatch.setenv("OLLAMA_KEEP_ALIVE", "-1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    told = shown()
    assert [each["name"] for each in told["settings"]] == list(config.Settings.model_fields)
    assert row(told, "max_vram") == {"name": "max_vram", "value": 8 * 10**9, "source": "OLLAMA_MAX_VRAM"}
    assert row(told, "num_parallel")["source"] == told["file"] == str(tmp_path / "hutch.toml")
    assert row(told, "keep_alive")["value"] == "forever"
    assert row(told, "max_queue")["source"] == "default"
    assert row(told, "home")["source"] == "HUTCH_HOME"
    assert row(told, "CUDA_VISIBLE_DEVICES")["value"] == "0"


def test_a_key_is_never_shown(shown: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "hunter2")
    told = shown()
    assert row(told, "api_key") == {"name": "api_key", "value": "(set)", "source": "OLLAMA_API_KEY"}
    assert "hunter2" not in json.dumps(told)


@pytest.mark.parametrize("name", [*configuration._WITHOUT_MEANING, "OLLAMA_FOO", "HUTCH_COLOUR"])
def test_what_does_nothing_is_said_to_do_nothing(
    shown: Show, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    (told,) = shown()["without_effect"]
    assert told["name"] == name
    assert told["reason"] == configuration._WITHOUT_MEANING.get(name, "Hutch knows no variable of this name")


def test_nothing_else_counts_as_unknown(shown: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OLLAMA_GPU_LAYERS", "HUTCH_NUM_GPU", "OLLAMA_EDITOR", "HUTCH_NOHISTORY"):
        monkeypatch.setenv(name, "1")
    assert shown()["without_effect"] == []


def test_the_table_names_what_has_no_value(
    shown: Show, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_ORIGINS", "a,b")
    monkeypatch.setenv("OLLAMA_NOPRUNE", "1")
    configuration.show(commands.parse(commands.find("config"), ["show"]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["llama_server", "-", "default"] in lines
    assert ["keep_alive", "5m0s", "default"] in lines
    assert ["origins", "a,", "b", "OLLAMA_ORIGINS"] in lines
    assert ["WITHOUT", "EFFECT", "BECAUSE"] in lines
