"""Commands without a server: the same store code in this process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import gguf_files
from tests.conftest import Server, clean_environment, free_port

Hutch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def hutch(home: Path, tmp_path: Path) -> Hutch:
    """Run a command as a user does, in a folder with a small GGUF file, where nothing listens."""
    (tmp_path / "Tiny Model.gguf").write_bytes(gguf_files.tiny_model())
    environment = clean_environment(HUTCH_HOME=str(home), HUTCH_HOST=f"127.0.0.1:{free_port()}")

    def run(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "hutch", *words],
            env=environment | settings,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def _names(hutch: Hutch) -> list[str]:
    told: Any = json.loads(hutch("list", "--json").stdout)
    return [model["name"] for model in told["models"]]


def test_a_model_lives_without_a_server(hutch: Hutch, home: Path, tmp_path: Path) -> None:
    pulled = hutch("pull", "./Tiny Model.gguf")
    assert (pulled.returncode, pulled.stderr.splitlines()[-1]) == (0, "success")
    assert _names(hutch) == ["tiny-model:latest"]
    assert hutch("cp", "tiny-model", "b").stdout == "copied 'tiny-model' to 'b'\n"
    (tmp_path / "Modelfile").write_text("FROM b\nSYSTEM Be brief.\nPARAMETER stop <end>\nMESSAGE user hi\n")
    assert hutch("create", "c").returncode == 0
    assert hutch("show", "c", "--system").stdout == "Be brief.\n"
    assert "\nPARAMETER stop <end>\nMESSAGE user hi\n" in hutch("show", "c", "--modelfile").stdout
    assert hutch("show", "c").stdout.startswith("  Model\n    architecture ")
    assert hutch("rm", "tiny-model", "b").stdout == "deleted 'tiny-model'\ndeleted 'b'\n"
    assert _names(hutch) == ["c:latest"]
    assert hutch("prune").stdout == "nothing to remove\n"
    stray = home / "models" / "blobs" / f"sha256-{'0' * 64}"
    stray.write_bytes(b"x" * 2000)
    assert hutch("prune", "-y").stdout == "nothing to remove\n"  # it is young
    os.utime(stray, (time.time() - 4000,) * 2)
    refused = hutch("prune")
    assert (refused.returncode, refused.stdout.splitlines()[1].split()[-2:]) == (2, ["2", "KB"])
    assert stray.exists()
    assert hutch("prune", "--json").returncode == 0
    assert stray.exists()
    assert hutch("prune", "-y").stdout.endswith("removed 1 file, 2 KB\n")
    assert not stray.exists()


def test_the_list_for_programs_is_the_servers(
    hutch: Hutch, serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir)
    with_server, without = (
        json.loads(hutch("list", "--json", HUTCH_MODELS=str(models_dir), **host).stdout)
        for host in ({"HUTCH_HOST": server.url}, {})
    )
    assert with_server == without
    assert without["models"][0]["capabilities"]


def test_create_takes_a_file_beside_the_modelfile(hutch: Hutch, tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "w.gguf").write_bytes(gguf_files.tiny_model())
    (folder / "M").write_text("FROM ./w.gguf")
    created = hutch("create", "x", "-f", "deep/M")
    assert (created.returncode, created.stderr.splitlines()[-1]) == (0, "success")
    assert _names(hutch) == ["x:latest"]
    assert hutch("pull", "y", "--from", "deep/w.gguf").returncode == 0
    assert sorted(_names(hutch)) == ["x:latest", "y:latest"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["show", "nix"], 4, "Error: model 'nix' not found"),
        (["rm", "nix"], 4, "Error: model 'nix' not found"),
        (["cp", "nix", "b"], 4, 'Error: model "nix" not found'),
        (["pull", "127.0.0.1:9/library/nix"], 7, "Error: cannot reach 127.0.0.1:9: "),
        (["push", "nix"], 4, "Error: model 'nix' not found"),
        (["pull", "./nix.gguf"], 4, "Error: nix.gguf: No such file or directory"),
        (["pull", "a/b/c/d"], 2, "Error: invalid model name 'a/b/c/d'"),
        (
            ["create", "x", "-f", "nix"],
            2,
            "Error: the Modelfile nix cannot be read: No such file or directory",
        ),
        (["logs", "nix"], 4, "Error: no log of model 'nix': "),
        (["nix"], 2, 'Error: unknown command "nix" for "hutch"'),
        (["ps"], 10, "Error: could not connect to a hutch server at http://127.0.0.1:"),
    ],
)
def test_errors_have_a_message_and_an_exit_code(hutch: Hutch, words: list[str], code: int, told: str) -> None:
    done = hutch(*words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_manifest_spoils_no_listing(hutch: Hutch, home: Path) -> None:
    hutch("pull", "good", "--from", "Tiny Model.gguf")
    broken = home / "models" / "manifests" / "registry.ollama.ai" / "library" / "bad" / "latest"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    done = hutch("list")
    assert done.stderr.startswith("Warning: ")
    assert done.stdout.splitlines()[1].startswith("good:latest")
    doctor = hutch("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert (doctor.returncode, checks["manifest"]["status"]) == (1, "fail")
    assert {"python", "hutch", "home", "model folder", "engine", "server", "models", "memory"} <= set(checks)


def test_doctor_fails_where_a_file_of_a_model_is_missing(hutch: Hutch, home: Path) -> None:
    hutch("pull", "good", "--from", "Tiny Model.gguf")
    assert hutch("doctor").returncode == 0
    largest = max((home / "models" / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    largest.unlink()
    done = hutch("doctor")
    assert done.returncode == 1
    assert f"fail  files of a model: good:latest: {largest.name.replace('-', ':')} is missing" in done.stdout


@pytest.mark.parametrize(
    "words", [("list",), ("serve",), ("show", "m"), ("prune",), ("pull", "m"), ("doctor",)]
)
def test_a_model_folder_that_is_a_file_is_refused_by_name(
    hutch: Hutch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("x")
    done = hutch(*words, HUTCH_MODELS=str(tmp_path / "file"))
    assert done.returncode != 0
    assert f"{tmp_path / 'file'} is no folder" in done.stderr + done.stdout


def test_serve_makes_the_model_folder_and_a_list_needs_none(hutch: Hutch, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "models"
    assert hutch("list", HUTCH_MODELS=str(folder)).returncode == 0
    assert not folder.exists()
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it ends at once
        hutch("serve", "--host", f"127.0.0.1:{taken.getsockname()[1]}", HUTCH_MODELS=str(folder))
    assert folder.is_dir()


def test_a_port_that_is_none_is_told_and_a_host_that_is_none_refused(hutch: Hutch) -> None:
    done = hutch("list", HUTCH_HOST="127.0.0.1:99999")
    assert "Warning: HUTCH_HOST: '99999' is no port, so 11434 is used" in done.stderr
    refused = hutch("list", HUTCH_HOST="host:1:2:3")
    assert refused.returncode != 0
    assert "HUTCH_HOST: invalid address 'host:1:2:3'" in refused.stderr
    flag = hutch("serve", "--host", "1.2.3.4:abc")
    assert flag.returncode != 0
    assert "'abc' is no port" in flag.stderr


def test_doctor_tells_of_downloads_left_behind(hutch: Hutch, home: Path) -> None:
    blobs = home / "models" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"sha256-{'a' * 64}-partial").write_bytes(b"x")
    os.utime(blobs / f"sha256-{'a' * 64}-partial", (0, time.time() - 2 * 86400))
    done = hutch("doctor")
    assert done.returncode == 0
    assert "warn  downloads: 1 left unfinished" in done.stdout


def test_doctor_tells_whether_prompts_outlive_their_model_and_prune_finds_those_without_one(
    hutch: Hutch, home: Path, tmp_path: Path
) -> None:
    assert "ok    kept prompts: none outlives its model: there is no key" in hutch("doctor").stdout
    assert "max_kv_disk is 0" in hutch("doctor", HUTCH_MAX_KV_DISK="0").stdout
    key = tmp_path / "key"
    key.write_bytes(bytes(32))
    key.chmod(0o644)
    assert f"warn  kept prompts: others may read {key}" in hutch("doctor", HUTCH_KEY_FILE=str(key)).stdout
    key.chmod(0o600)
    state = home / "kv" / ("0" * 64) / f"{'0' * 32}-{'0' * 16}"
    state.parent.mkdir(parents=True)
    state.write_bytes(bytes(1000))
    told = hutch("doctor", HUTCH_KEY_FILE=str(key)).stdout
    assert f"KB on disk, sealed with the key in {key}" in told
    key.write_bytes(b"short")
    short = hutch("doctor", HUTCH_KEY_FILE=str(key))
    assert short.returncode == 1
    assert "has 5 bytes" in short.stdout
    assert str(state) in hutch("prune", "--yes").stdout
    assert not state.exists()


def test_logs_show_the_last_lines(hutch: Hutch, home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "m_latest.log").write_text("one\ntwo\nthree\n")
    (home / "logs" / "server.log").write_text("four\n")
    assert hutch("logs", "m", "-n", "2").stdout == "two\nthree\n"
    assert hutch("logs").stdout == "four\n"


def test_help_needs_nothing(hutch: Hutch) -> None:
    assert "Available Commands:" in hutch("--help").stdout
    assert hutch().stdout == hutch("help").stdout == hutch("-h").stdout
    assert hutch("help", "run").stdout == hutch("run", "--help").stdout
    assert hutch("--version").stdout == "hutch version is 0.1.0\n"


def test_run_says_why_the_server_did_not_start_and_doctor_says_it_before(hutch: Hutch, home: Path) -> None:
    home.mkdir()
    (home / "hutch.toml").write_text("bogus = 1\n")
    tried = hutch("run", "any", "hi")
    assert tried.returncode == 10
    assert "the server did not start: setting 'bogus'" in tried.stderr
    looked = hutch("doctor")
    assert looked.returncode == 1
    assert "fail  settings: setting 'bogus'" in looked.stdout


def test_what_is_no_text_is_refused_in_a_line(hutch: Hutch) -> None:
    refused = hutch("create", os.fsdecode(b"\xff"), "-f", "none")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_a_folder_that_may_not_be_written_is_a_refusal_with_the_next_step(
    hutch: Hutch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refused = hutch("pull", "./Tiny Model.gguf", HUTCH_HOME=str(tmp_path / "file"))
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr


def test_a_background_server_uses_the_folders_that_are_meant_here(hutch: Hutch, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    pulled = hutch("pull", "./Tiny Model.gguf", HUTCH_HOME="mine", HUTCH_MODELS="models here")
    assert pulled.returncode == 0
    hutch("run", "tiny-model", "hi", HUTCH_HOME="mine", HUTCH_MODELS="models here")
    log = (tmp_path / "mine" / "logs" / "server.log").read_text()
    assert f"models in {tmp_path / 'models here'}" in log
    assert not (tmp_path / "mine" / "mine").exists()
    _end_server(log)


def _end_server(log: str) -> None:
    """End the server whose process number stands in its log."""
    started = next(line for line in log.splitlines() if "Started server process" in line)
    os.kill(int(started.rsplit("[", 1)[1].rstrip("]")), signal.SIGTERM)
