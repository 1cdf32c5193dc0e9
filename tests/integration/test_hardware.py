"""What models run on, over the API and the command line: real workers, with whatever this machine has."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import plain_decoder
from tests.conftest import Server, clean_environment, free_port
from tests.onnx_files import byte_tokenizer, write_llama, write_tokenizer


def hutch(home: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "hutch", *words],
        env=clean_environment(
            HUTCH_HOME=str(home),
            HUTCH_MODELS=str(home / "models"),
            HUTCH_HOST=f"127.0.0.1:{free_port()}",
            **variables,
        ),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with `ours`, which Hutch's own runner takes, `other`, which it does not, and `picky`, which wants an NPU first."""
    home = tmp_path_factory.mktemp("home")
    ours = write_llama(home / "ours")
    other = plain_decoder.write(home / "other", byte_tokenizer().get_vocab_size())
    write_tokenizer(other)
    for name, lines in (
        ("ours", f"FROM {ours}"),
        ("other", f"FROM {other}"),
        ("picky", f"FROM {ours}\nPARAMETER hardware coreml:npu,cpu"),
    ):
        (home / "Modelfile").write_text(lines + "\n")
        done = hutch(home, "create", name, "-f", str(home / "Modelfile"))
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def onnx_server(serve: Callable[..., Server], made: Path) -> Server:
    return serve(made / "models")


def load(server: Server, model: str, **options: Any) -> dict[str, Any]:
    status, told = server.post("/api/generate", {"model": model, "options": options})
    assert status == 200, told
    hardware: dict[str, Any] = told["hardware"]
    return hardware


def ask(server: Server, model: str, **options: Any) -> Any:
    body = {"model": model, "prompt": "ab", "raw": True, "stream": False, "options": {"seed": 5} | options}
    return server.post("/api/generate", body)


def test_the_machine_is_told(onnx_server: Server) -> None:
    told = onnx_server.get("/api/hardware")
    assert told["cpu"]["model"]
    assert told["preference"] == []
    assert told["plan"] == ["cpu"]
    done = hutch(onnx_server.home, "hardware", "--json", FOUNDRY_HARDWARE="coreml,cpu")
    assert done.returncode == 0, done.stderr
    here = json.loads(done.stdout)
    assert here.keys() == told.keys()
    assert (here["preference"], here["plan"][-1]) == (["coreml", "cpu"], "cpu")
    table = hutch(onnx_server.home, "hardware")
    assert "Order for ONNX models" in table.stdout


def test_a_list_that_cannot_be_read_is_refused_by_name(onnx_server: Server) -> None:
    status, told = onnx_server.post("/api/generate", {"model": "ours", "options": {"hardware": "tpu"}})
    assert (status, told["code"]) == (400, "bad_input")
    done = hutch(onnx_server.home, "hardware", HUTCH_HARDWARE="npu,tpu")
    assert done.returncode == 2
    assert "HUTCH_HARDWARE" in done.stderr


def test_what_was_stepped_down_from_is_told_everywhere(onnx_server: Server) -> None:
    hardware = load(onnx_server, "ours", hardware="qnn:npu,coreml:npu,cpu")
    assert (hardware["runner"], hardware["provider"]) == ("onnxruntime", "cpu")
    assert [each["provider"] for each in hardware["fallbacks"]] == ["qnn:npu", "coreml:npu"]
    assert all(each["reason"] for each in hardware["fallbacks"])
    [running] = [row for row in onnx_server.get("/api/ps")["models"] if row["name"].startswith("ours")]
    assert running["hardware"] == hardware
    assert "does not run on coreml:npu" in (onnx_server.home / "serve.log").read_text()
    assert load(onnx_server, "ours", hardware="cpu")["fallbacks"] == []  # another list: loaded anew
    assert [each["provider"] for each in load(onnx_server, "picky")["fallbacks"]] == ["coreml:npu"]


def test_without_the_cpu_in_the_list_nothing_runs_there(onnx_server: Server) -> None:
    status, told = onnx_server.post("/api/generate", {"model": "ours", "options": {"hardware": "coreml"}})
    assert (status, told["code"]) == (502, "engine_failed")
    assert "coreml: not in this build" in told["error"]


def test_what_ours_does_not_take_runs_on_genai(onnx_server: Server) -> None:
    hardware = load(onnx_server, "other")
    assert hardware["runner"] == "onnxruntime-genai"
    assert "no GroupQueryAttention" in hardware["reason"]
    status, first = ask(onnx_server, "other", num_predict=8, temperature=1, min_p=0.01)
    assert status == 200, first
    assert first["eval_count"] == 8
    assert (
        ask(onnx_server, "other", num_predict=8, temperature=1, min_p=0.01)[1]["response"]
        == first["response"]
    )
    status, told = ask(onnx_server, "other", num_predict=4, num_ctx=256, stop=[first["response"][0]])
    assert status == 200, told
    shown = onnx_server.post("/api/show", {"model": "other"})[1]
    assert shown["model_info"]["onnx.runner"] == "onnxruntime-genai"
    assert shown["hardware"] == hardware


def test_show_says_the_runner_and_what_a_seed_is_worth(onnx_server: Server) -> None:
    onnx_server.post("/api/generate", {"model": "ours", "keep_alive": 0})
    _, before = onnx_server.post("/api/show", {"model": "ours"})
    assert (before["hardware"]["runner"], before["hardware"]["provider"]) == ("onnxruntime", "cpu")
    assert before["reproducibility"] == "tried out when the model is loaded"
    hardware = load(onnx_server, "ours")
    assert hardware["reproducible"] is True
    _, after = onnx_server.post("/api/show", {"model": "ours"})
    assert after["hardware"] == hardware
    assert after["reproducibility"] == "same seed, same text, whatever else runs"


def test_options_that_mean_nothing_in_onnx_are_logged_by_name(
    serve: Callable[..., Server], made: Path
) -> None:
    server = serve(made / "models", KV_CACHE_TYPE="q8_0")
    log = server.home / "serve.log"
    load(server, "ours", num_gpu=3)
    assert (
        "ours:latest runs on ONNX Runtime, where these mean nothing: num_gpu, kv_cache_type"
        in log.read_text()
    )
    status, told = ask(server, "ours", num_predict=2, use_mmap=False, main_gpu=0)  # no reload: it is served
    assert status == 200, told
    assert "these mean nothing: main_gpu, use_mmap\n" in log.read_text()


def test_a_setting_forces_a_runner_and_both_say_the_same(
    serve: Callable[..., Server], made: Path, onnx_server: Server
) -> None:
    forced = serve(made / "models", ONNX_RUNNER="genai")
    assert load(forced, "ours")["runner"] == "onnxruntime-genai"
    ours, theirs = (ask(server, "ours", num_predict=12, temperature=0)[1] for server in (onnx_server, forced))
    assert ours["response"] == theirs["response"]
