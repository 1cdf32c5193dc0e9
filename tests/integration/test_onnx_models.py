"""ONNX models behind a real server: the command line, the folder that a worker opens, requests that only GGUF can answer."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MODEL, Server, clean_environment
from tests.contract.live import GREEDY, ask, eventually, generate, own_models, running, serving


@pytest.fixture(scope="module")
def folder(stocked: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of this module's own."""
    return own_models(stocked("onnx"), tmp_path_factory.mktemp("onnx") / "models")


@pytest.fixture(scope="module")
def house(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with it."""
    with serving(tmp_path_factory.mktemp("house") / "home", folder) as server:
        yield server


def hutch(server: Server, *words: str) -> str:
    """What a command prints, with this server."""
    done = subprocess.run(
        [sys.executable, "-m", "hutch", *words],
        env=clean_environment(HUTCH_HOME=str(server.home), HUTCH_HOST=server.url),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def test_the_command_line_makes_runs_and_shows_one(house: Server, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {MODEL}\nPARAMETER num_predict 5\nPARAMETER temperature 0\n")
    hutch(house, "create", "short", "-f", str(tmp_path / "Modelfile"))
    assert hutch(house, "run", "short", "Why is the sky blue?").strip()
    rows = json.loads(hutch(house, "ps", "--json"))["models"]
    assert [(row["name"], row["engine"], row["slots"]) for row in rows] == [
        ("short:latest", "onnxruntime", 4)
    ]
    assert "quantization        int4" in hutch(house, "show", "short")
    assert hutch(house, "show", "short", "--modelfile").splitlines()[4] == "FROM short:latest"
    hutch(house, "stop", "short")
    hutch(house, "rm", "short")
    eventually(lambda: not running(house), 5, "the model is unloaded")
    eventually(lambda: not (folder / ".loaded").exists(), 5, "its folder is gone")


def test_the_folder_of_a_worker_goes_with_it(house: Server, folder: Path) -> None:
    assert ask(house, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0}).status == 200
    eventually(lambda: not running(house), 5, "the model is unloaded")
    before = laid_out_in(folder)  # other tests' servers may have theirs
    assert generate(house).status == 200
    [laid_out] = laid_out_in(folder) - before
    assert {path.name for path in laid_out.iterdir()} >= {
        "model.onnx",
        "model.onnx.data",
        "genai_config.json",
    }
    assert laid_out.stat().st_mode & 0o777 == 0o700
    assert ask(house, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0}).status == 200
    eventually(lambda: not running(house), 5, "the model is unloaded")
    eventually(lambda: not laid_out.exists(), 5, "its folder is gone")


def laid_out_in(folder: Path) -> set[Path]:
    """The folders of workers."""
    return set((folder / ".loaded").glob("*"))


def test_a_folder_that_a_killed_server_left_is_swept(folder: Path, tmp_path: Path) -> None:
    before = laid_out_in(folder)
    with serving(tmp_path / "home", folder) as server:
        assert generate(server).status == 200
        server.process.kill()
        server.process.wait(10)
    [left] = laid_out_in(folder) - before
    with serving(tmp_path / "home", folder) as server:
        assert generate(server).status == 200
        assert left not in laid_out_in(folder)


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("/api/generate", {"prompt": "Hi", "shift": True}, "shift"),
        ("/api/embed", {"input": "Hi"}, "does not support embeddings"),
        (
            "/api/chat",
            {"messages": [{"role": "user", "content": "Hi", "images": ["iVBORw0KGgo="]}]},
            "image|vision",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(
    house: Server, path: str, body: dict[str, object], why: str
) -> None:
    reply = ask(house, "POST", path, {"model": MODEL, "stream": False, **body})
    assert reply.status == 400
    assert any(word in reply.error for word in why.split("|"))


def test_options_that_mean_nothing_to_it_do_not_reload_it(house: Server) -> None:
    assert generate(house).status == 200
    pid = running(house)[MODEL]["pid"]
    options = {**GREEDY, "num_gpu": 0, "main_gpu": 0, "use_mmap": False}
    assert generate(house, options=options).json["eval_count"] == GREEDY["num_predict"]
    assert running(house)[MODEL]["pid"] == pid
