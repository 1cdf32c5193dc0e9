"""Other names for Hutch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hutch
from hutch import places
from hutch.cli import commands, foundry, shims
from hutch.cli.main import main
from hutch.core.errors import BadInput, Conflict, Forbidden, NotBuilt
from tests.conftest import clean_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there they are .cmd files")


def do(action: str, folder: Path) -> None:
    shims.shims(commands.parse(commands.find("shims"), [action, "--dir", str(folder)]))


def test_a_shim_is_hutch_by_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a folder"
    do("install", folder)
    do("install", folder)  # again is no harm
    told = capsys.readouterr()
    assert f"{folder / 'ollama'}\n{folder / 'foundry-local'}\n" in told.out
    assert f"note: {folder} is not on PATH: a shell does not find ollama yet" in told.err or (
        "comes first on PATH" in told.err
    )
    (tmp_path / "hutch").mkdir()  # a package of this name in the working folder is not what is run
    (tmp_path / "hutch" / "__init__.py").write_text("raise SystemExit('wrong')")
    done = subprocess.run(
        [folder / "ollama", "--version"],
        env=clean_environment(HUTCH_HOST="127.0.0.1:1", HUTCH_HOME=str(tmp_path)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == f"ollama version is {hutch.OLLAMA_VERSION} (hutch {hutch.__version__})\n"


def test_says_nothing_where_a_shell_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    do("install", tmp_path)
    assert capsys.readouterr().err == ""
    first = tmp_path / "first"
    do("install", first)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{first}")
    capsys.readouterr()
    do("install", first)
    assert f"note: {tmp_path / 'ollama'} comes first on PATH" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "link", "broken link", "folder"])
def test_what_is_not_ours_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    foreign, real = tmp_path / "foundry-local", tmp_path / "real"
    if kind == "folder":
        foreign.mkdir()
    elif kind == "file":
        foreign.write_bytes(b"\x7fELF\0")
    else:
        if kind == "link":
            real.write_text("#!/bin/sh\n")
        foreign.symlink_to(real)
    with pytest.raises(Conflict, match="foundry-local is there, and not Hutch's"):
        do("install", tmp_path)
    assert not (tmp_path / "ollama").exists()  # nor is half of it done
    do("remove", tmp_path)
    assert "left alone" in capsys.readouterr().err
    assert foreign.exists() or foreign.is_symlink()


def test_remove_takes_away_what_install_brought(tmp_path: Path) -> None:
    do("install", tmp_path)
    do("remove", tmp_path)
    do("remove", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Forbidden, match="cannot write to"):
        do("install", tmp_path / "file" / "bin")


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("/usr/bin/ollama", "ollama"),
        ("foundry-local", "foundry-local"),
        ("-c", "hutch"),
        ("/x/hutch", "hutch"),
    ],
)
def test_help_and_errors_say_the_name_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv0: str, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", [argv0])
    assert places.program() == name
    if name == "foundry-local":
        assert main([]) == 0
        assert "  cache list      the same as 'hutch list'\n" in capsys.readouterr().out
        return
    assert f"\n  {name} [command]\n" in commands.overview()
    with pytest.raises(BadInput, match=f'unknown command "frob" for "{name}"'):
        commands.find("frob")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["model", "run", "m", "hi"], ["run", "m", "hi"]),
        (["models", "pull", "microsoft/phi-4-mini"], ["models", "pull", "microsoft/phi-4-mini"]),
        (["cache", "list"], ["list"]),
        (["service", "ps"], ["ps"]),
        (["model", "list", "--json"], ["models", "list", "--json"]),
        (["init", "--json"], ["init", "--json"]),
        (["models", "test", "m", "--benchmark"], ["models", "test", "m", "--benchmark"]),
        (["deploy", "--config", "production.json"], ["deploy", "--config", "production.json"]),
    ],
)
def test_commands_of_foundry_local_that_mean_the_same(words: list[str], meant: list[str]) -> None:
    assert foundry.translated(words) == meant


@pytest.mark.parametrize("words", [["service", "stop"], ["model"], ["run", "m"]])
def test_other_commands_of_foundry_local_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(NotBuilt, match=f"foundry-local {' '.join(words[:2])}: not built yet"):
        foundry.translated(words)
    monkeypatch.setattr(sys, "argv", ["foundry-local"])
    assert main(words) == 2
    assert "foundry-local --help" in capsys.readouterr().err
