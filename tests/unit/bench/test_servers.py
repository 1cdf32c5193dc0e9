"""What can be named as a server, and how each is started."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.load import Server
from bench.servers import AS_OLLAMA, Peer, Setup, command, like


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hutch", Peer("Hutch (wheel)", "hutch")),
        ("ollama", Peer("Ollama", "ollama", "ollama")),
        ("a=hutch,ollama", Peer("a", "hutch", "ollama")),
        (
            "a=hutch-built,model=b:c,HUTCH_X=1=2",
            Peer("a", "hutch-built", model="b:c", settings={"HUTCH_X": "1=2"}),
        ),
        ("w=worker:a", Peer("w", "worker", of="a")),
        (
            "u=http://127.0.0.1:1,ollama",
            Peer("u", "url", "ollama", place=Server("u", "ollama", "http://127.0.0.1:1")),
        ),
    ],
)
def test_reads_servers(text: str, expected: Peer) -> None:
    assert Peer.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=hutch",
        "a=url",
        "a=worker",
        "worker",
        "a=hutch:b",
        "vllm",
        "hutch,grpc",
        "hutch,x=1",
        "hutch,model=",
        "u=http://10.0.0.1:1,ollama",
        "u=https://127.0.0.1,ollama",
    ],
)
def test_refuses_what_it_cannot_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|dialect|loopback"):
        Peer.parse(text)


def test_a_server_that_runs_already_is_not_started_anew() -> None:
    assert Peer.parse("u=unix:/a,openai").offers == {"chat", "texts"}
    assert Peer.parse("hutch").offers == {"chat", "texts", "process"}
    assert Peer.parse("w=worker:a").offers == {"chat"}


def test_a_twin_has_the_flags_but_neither_the_place_nor_the_states() -> None:
    words = [
        "llama-server",
        "--host",
        "w.sock",
        "--model",
        "m",
        "-t",
        "2",
        "--offline",
        "--slot-save-path",
        "/x",
        "-sps",
        "0",
        "-np",
        "4",
    ]
    assert like(words) == ["-t", "2", "--offline", "-np", "4"]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """A machine that has everything, all of it empty."""
    for name in ("llama-server", "ollama"):
        (tmp_path / name).touch()
    models, home = tmp_path / "models", tmp_path / "home"
    (models / "blobs").mkdir(parents=True)
    (models / "blobs" / "b").write_text("weights")
    (home / "tuned").mkdir(parents=True)
    (home / "keys.json").touch()
    config = {"model": {"decoder": {"session_options": {}}, "context_length": 9}, "search": {"max_length": 9}}
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    file = SimpleNamespace(name="genai_config.json", path=tmp_path / "genai_config.json")
    opened = SimpleNamespace(weights=[Path("m.gguf")], files=[file])
    monkeypatch.setattr(Setup, "opened", lambda _, __: opened)
    return Setup(
        models, "m", "e", "o", home, tmp_path / "llama-server", tmp_path / "ollama", tmp_path / "python"
    )


def test_the_yardstick_is_started_as_ollama_starts_it(setup: Setup, tmp_path: Path) -> None:
    found = command(setup, Peer.parse("yardstick"), tmp_path, "m", ["-np", "9"])
    assert found.argv[-len(AS_OLLAMA) :] == list(AS_OLLAMA)
    assert "--embedding" not in found.argv
    assert command(setup, Peer.parse("yardstick"), tmp_path, "e").argv[-1] == "--embedding"


def test_llama_server_is_like_the_worker_where_there_is_one(setup: Setup, tmp_path: Path) -> None:
    found = command(setup, Peer.parse("llama-server"), tmp_path, "m", ["--offline", "-np", "9"])
    assert found.argv[-2:] == ["-np", "9"]
    assert list(found.argv).count("--offline") == 1
    assert command(setup, Peer.parse("llama-server"), tmp_path, "m").argv[-2:] == ["-np", "4"]


def test_hutch_gets_a_home_of_its_own_without_secrets(setup: Setup, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    found = command(setup, Peer.parse("hutch-built,HUTCH_NUM_PARALLEL=8"), folder, "m")
    assert found.environment["HUTCH_HOME"] == str(folder / "home")
    assert found.environment["HUTCH_NUM_PARALLEL"] == "8"
    assert found.environment["HUTCH_LLAMA_SERVER"] == str(setup.llama_server)
    assert (folder / "home" / "tuned").is_dir()
    assert not (folder / "home" / "keys.json").exists()


def test_ollama_gets_links_to_the_models(setup: Setup, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    found = command(setup, Peer.parse("ollama"), folder, "m")
    assert found.argv == (setup.ollama, "serve")
    link = Path(found.environment["OLLAMA_MODELS"]) / "blobs" / "b"
    assert link.is_symlink()
    assert link.read_text() == "weights"


def test_foundry_local_gets_the_threads_and_the_context_that_hutch_has(setup: Setup, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    found = command(setup, Peer.parse("foundry"), folder, "bench-generic-cpu:1")
    assert found.ends_with_input
    told = json.loads((folder / "onnx" / "genai_config.json").read_text())
    assert told["model"]["decoder"]["session_options"]["intra_op_num_threads"] == setup.num_threads
    assert told["search"]["max_length"] == 4096
