"""The whole of `hutch optimize` on a tiny model, where the extra is installed: every kind of source, every recipe."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hutch.optimize import libraries
from tests import tiny_llama
from tests.conftest import clean_environment, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        len(libraries.versions(libraries.PACKAGES)) < len(libraries.PACKAGES),
        reason="the extra hutch[optimize] is not installed",
    ),
]
_OPEN_GATE = ("--max-kl", "0.2", "--min-top1", "0.8", "--json")
_OLIVE = {
    "input_model": {"type": "HfModel", "model_path": "said by Hutch"},
    "systems": {
        "local": {
            "type": "LocalSystem",
            "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
        }
    },
    "target": "local",
    "passes": {"build": {"type": "ModelBuilder", "precision": "int4", "int4_accuracy_level": 4}},
}
_TEXT = "The quick brown fox, 12 of them, jumps over the lazy dog.\n" * 90  # of bytes: each is a token


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model as Hugging Face has it, as GGUF in a store, and a text."""
    path = tmp_path_factory.mktemp("tiny")
    tiny_llama.write(path / "hf")
    (path / "text.txt").write_text(_TEXT)
    (path / "Modelfile").write_text("FROM ./hf\nSYSTEM Be brief.\n")
    _hutch(path, "create", "tiny:gguf")
    return path


def _hutch(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hutch", *words],
        env=clean_environment(HUTCH_HOME=str(folder / "home"), HUTCH_HOST=f"127.0.0.1:{free_port()}"),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _optimize(folder: Path, *words: str) -> Any:
    return json.loads(_hutch(folder, "optimize", *words, "--data", "text.txt", *_OPEN_GATE))


def test_a_folder_is_searched_and_the_choice_gets_the_name(folder: Path) -> None:
    told = _optimize(folder, "./hf", "--to", "tiny:best")
    assert {each["name"] for each in told["candidates"] if each["problem"]} == set()
    assert len(told["candidates"]) >= 10
    assert told["created"] == "tiny:best"
    passing = [each for each in told["candidates"] if each["passes"]]
    assert told["chosen"] == max(passing, key=lambda each: float(each["score"]))["name"]


def test_a_gguf_model_becomes_onnx_and_keeps_what_it_says(folder: Path) -> None:
    told = _optimize(folder, "tiny:gguf", "--quant", "int8")
    assert told["created"] == "tiny:gguf-onnx-int8"
    assert _hutch(folder, "show", "tiny:gguf-onnx-int8", "--system") == "Be brief.\n"


def test_an_onnx_model_of_the_store_can_have_its_graph_optimised(folder: Path) -> None:
    _optimize(folder, "tiny:gguf", "--quant", "int8", "--to", "tiny:onnx")
    told = _optimize(folder, "tiny:onnx", "--quant", "optimized", "--to", "tiny:graph")
    (candidate,) = told["candidates"]
    assert candidate["accuracy"]["mean_kl"] < 1e-3


def test_an_olive_configuration_runs_in_an_environment_of_its_own_and_is_judged(folder: Path) -> None:
    (folder / "olive.json").write_text(json.dumps(_OLIVE))
    told = _optimize(folder, "tiny:gguf", "--recipe", "olive:olive.json", "--picture", "olive.png")
    (candidate,) = told["candidates"]
    assert (candidate["name"], candidate["passes"]) == ("olive:olive.json", True)
    assert candidate["speed"]["decode_tps"] > 0
    assert told["created"] == "tiny:gguf-onnx-olive"
    assert (folder / "olive.png").read_bytes().startswith(b"\x89PNG")
    assert _hutch(folder, "show", "tiny:gguf-onnx-olive", "--system") == "Be brief.\n"


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_search_that_is_broken_off_leaves_nothing_running_and_goes_on_where_it_stood(
    folder: Path, tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    home, words = (
        tmp_path / "home",
        ("optimize", "./hf", "--format", "gguf", "--data", "text.txt", *_OPEN_GATE),
    )
    environment = clean_environment(HUTCH_HOME=str(home), HUTCH_HOST=f"127.0.0.1:{free_port()}")
    command = (sys.executable, "-m", "hutch", *words)
    with subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True) as search:
        assert search.stderr is not None
        assert any("candidate 2 of 2" in line for line in search.stderr)
        search.send_signal(sent)
        assert search.wait(30) == status
    deadline = time.monotonic() + 10
    while _processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _processes_of(home) == []
    findings = {path: path.stat().st_mtime_ns for path in (home / "optimize" / "findings").iterdir()}
    assert len(findings) >= 2  # accuracy and speed of the first candidate
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=600, check=True
    )
    assert all(each["speed"] for each in json.loads(done.stdout)["candidates"])
    assert (
        findings.items()
        <= {path: path.stat().st_mtime_ns for path in (home / "optimize" / "findings").iterdir()}.items()
    )
    assert list((home / "optimize" / "work").iterdir()) == []
    history = subprocess.run(
        (*command[:4], "--history", "--json"), env=environment, capture_output=True, text=True, check=True
    )
    assert len(json.loads(history.stdout)["searches"]) == 1


def _processes_of(home: Path) -> list[str]:
    """What still runs with this HUTCH_HOME in its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"HUTCH_HOME={home}\0".encode() in path.read_bytes():
                found.append(path.parent.name)
    return found
