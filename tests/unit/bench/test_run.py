"""A whole run with scripted servers, and what takes part in one."""

import json
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import compare, page, run, starts
from bench.servers import LABELS, Peer, Setup

FAKE = Path(__file__).with_name("fake_llama_server.py")
YARDSTICK = LABELS["yardstick"]


def test_a_run_measures_writes_and_goes_on_after_a_server_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Setup, "opened", lambda _, __: SimpleNamespace(weights=[Path("m.gguf")]))
    monkeypatch.setattr(starts, "SETTLE_S", 0.1)
    monkeypatch.setattr(compare, "PAUSE_S", 0)
    binary, docs, out = tmp_path / "llama-server", tmp_path / "benchmarks.md", tmp_path / "out"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    binary.chmod(0o755)
    docs.write_text(f"By hand.\n{page.BEGIN}\n{page.END}\n")
    words = ["--models", str(tmp_path), "--llama-server", str(binary), "--docs", str(docs), "--out", str(out)]
    words += ["--rounds", "1", "--idle", "20", "--server", "yardstick"]
    words += ["--server", "none=foundry"]
    for workload in ("short chat", "agent loop", "4 at once", "embeddings", "cold start", "idle streams"):
        words += ["--only", workload]
    assert run.main([*words, "--only", "second turn after a restart"]) == 0  # it was no Hutch that has failed

    said = capsys.readouterr().out
    assert "Foundry Local needs" in said
    assert "error: 8 × short chat, none: Failed: none: Foundry Local needs" in said
    told = json.loads((out / "run.json").read_text())
    figures = {(row["workload"], row["figure"], row["server"]): row["own"] for row in told["figures"]}
    assert figures["idle streams", "streams held", YARDSTICK]["median"] == 20
    assert figures["embeddings", "texts", YARDSTICK]["median"] > 0
    assert figures["short chat", "first token", "none"] is None
    assert not [error for error in told["errors"] if ", none: " not in error]
    assert told["versions"]["llama-server"] == "fake 1"
    assert (out / "ratios.png").read_bytes().startswith(b"\x89PNG")
    written = docs.read_text()
    assert written.startswith("By hand.\n")
    assert "### cold start" in written
    assert "](benchmarks/ratios.svg)" in written
    assert (tmp_path / "benchmarks" / "at-once.svg").is_file()


def test_what_is_here_takes_part() -> None:
    def kinds(setup: Setup, optimized: str | None = None) -> list[str]:
        return [peer.kind for peer in run.usual_peers(setup, optimized)]

    path = Path("x")
    assert kinds(Setup(path, "m")) == ["hutch"]
    assert kinds(Setup(path, "m", home=path)) == ["hutch-built", "hutch", "yardstick", "llama-server"]
    assert kinds(Setup(path, "m", home=path, ollama=path)) == [
        "hutch-built",
        "hutch",
        "ollama",
        "llama-server",
    ]
    assert kinds(Setup(path, "m", onnx_model="o", foundry=path)) == ["hutch", "hutch-onnx", "foundry"]
    assert kinds(Setup(path, "m", home=path), "q")[:2] == ["hutch-built", "hutch-optimized"]


def test_the_base_is_who_is_named_or_a_peer_of_hutch() -> None:
    peers = [Peer("a", "hutch"), Peer("b", "llama-server"), Peer("c", "yardstick")]
    assert run.base_of(peers, None) == "c"
    assert run.base_of(peers, "a") == "a"
    assert run.base_of(peers[:1], None) == "a"
    for strange, named in (([*peers, peers[0]], None), (peers, "d"), ([Peer("w", "worker", of="z")], None)):
        with pytest.raises(ValueError, match=r"name|none of"):
            run.base_of(strange, named)


@pytest.mark.parametrize(
    ("limits", "expected", "raised"),
    [
        ((64, 4096), 2000, [2200]),
        ((64, 1200), 1000, [1200]),
        ((8192, 8192), 2000, []),
        ((64, -1), 2000, [2200]),
    ],
)
def test_the_limit_of_files_is_raised_as_far_as_it_may_be(
    limits: tuple[int, int], expected: int, raised: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: set_to.append(pair[0]))
    assert starts.allowed_streams(2000) == expected
    assert set_to == raised


@pytest.mark.parametrize(
    "words",
    [
        ["--server", "vllm"],
        ["--server", "hutch"],
        ["--only", "x"],
        ["--base", "x", "--models", "m"],
        ["--docs", "/none"],
    ],
)
def test_what_cannot_be_run_is_refused_at_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(words)
    assert "error:" in capsys.readouterr().err
