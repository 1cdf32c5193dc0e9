"""`hutch optimize` and `hutch compare` from outside. What takes PyTorch is in the slow test."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hutch.optimize import libraries
from hutch.optimize.records import Records
from tests import gguf_files
from tests.conftest import Server, clean_environment, free_port

Hutch = Callable[..., "subprocess.CompletedProcess[str]"]
_HAS_EXTRA = len(libraries.versions(libraries.PACKAGES)) == len(libraries.PACKAGES)


@pytest.fixture
def hutch(tmp_path: Path) -> Hutch:
    """Run a command where nothing listens, in a folder with a small GGUF file."""
    (tmp_path / "tiny.gguf").write_bytes(gguf_files.tiny_model())
    (tmp_path / "short.txt").write_text("Too little to tell anything.")
    settings = {"HUTCH_HOME": str(tmp_path / "home"), "HUTCH_HOST": f"127.0.0.1:{free_port()}"}

    def run(*words: str, timeout_s: float = 60, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "hutch", *words],
            env=clean_environment(**settings | more),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "hutch optimize needs a model"),
        (("absent",), 4, "model 'absent' not found"),
        (("./absent",), 2, "there is no folder"),
        (("./home",), 2, "there is no folder"),
        (("./tiny.gguf", "--quant", "int4"), 2, "a variant of a folder needs a name"),
        (("./tiny.gguf", "--max-kl", "-1"), 2, "--max-kl takes"),
        (("./tiny.gguf", "--min-top1", "7"), 2, "--min-top1 takes"),
        (("./tiny.gguf", "--data", "absent.txt"), 2, "cannot be read"),
        (("./tiny.gguf", "--recipe", "mine.json", "--to", "x"), 2, "--recipe takes olive:FILE"),
        (("./tiny.gguf", "--recipe", "olive:absent.json", "--to", "x"), 2, "no Olive configuration"),
        (("./tiny.gguf", "--recipe", "olive:a.json", "--quant", "int4", "--to", "x"), 2, "says what is made"),
        (("./tiny.gguf", "--to", "a b"), 2, "invalid model name"),
        (("./tiny.gguf", "--data", "./short.txt"), 2, "is too short"),
        (("./tiny.gguf", "--picture", "x.jpg"), 2, "ends in .svg or .png"),
        (("./tiny.gguf", "--picture", "absent/x.svg"), 2, "cannot be written"),
    ],
)
def test_refuses_what_cannot_be(hutch: Hutch, words: tuple[str, ...], code: int, said: str) -> None:
    done = hutch("optimize", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_a_folder_that_is_no_model_is_refused(hutch: Hutch, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "is no model" in hutch("optimize", "./folder").stderr
    (folder / "model.safetensors").touch()
    assert "has no config.json" in hutch("optimize", "./folder").stderr


@pytest.mark.skipif(_HAS_EXTRA, reason="the extra is installed")
def test_without_the_extra_the_error_names_it(hutch: Hutch) -> None:
    done = hutch("optimize", "./tiny.gguf")
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'hutch[optimize]'\n")


def test_the_history_is_a_table_or_json(hutch: Hutch, tmp_path: Path) -> None:
    assert hutch("optimize", "--history").stderr == "nothing was optimised yet\n"
    report = {"source": "m:latest", "candidates": [{}, {}], "chosen": "onnx-int4", "created": "m:x"}
    kept = Records(tmp_path / "home" / "optimize").keep_search(report)
    head, row = hutch("optimize", "--history").stdout.splitlines()
    assert head.split() == ["ID", "MODEL", "CANDIDATES", "CHOSEN", "CREATED", "WHEN"]
    assert row.split()[:5] == [kept.stem[:12], "m:latest", "2", "onnx-int4", "m:x"]
    told: Any = json.loads(hutch("optimize", "m", "--history", "--json").stdout)
    assert told["searches"][0]["id"] == kept.stem
    assert json.loads(hutch("optimize", "other", "--history", "--json").stdout) == {"searches": []}


def test_two_models_are_asked_the_same(hutch: Hutch, server: Server) -> None:
    host = {"HUTCH_HOST": server.url}
    words = ("compare", "smollm2:135m", "smollm2:135m", "What is a rabbit?", "Say yes.", "--tokens", "12")
    told: Any = json.loads(hutch(*words, "--json", **host).stdout)
    assert [each["prompt"] for each in told["prompts"]] == ["What is a rabbit?", "Say yes."]
    for each in told["prompts"]:
        first, answer = each["answers"]
        assert first["text"] == answer["text"] != ""
        assert 0 < answer["first_token_s"] < 60
        assert 1 <= answer["tokens"] <= 12
    shown = hutch(*words, **host).stdout
    assert "» What is a rabbit?" in shown
    assert shown.endswith("equal answers: 2 of 2\n")


def test_compare_refuses_what_writes_no_text(hutch: Hutch, server: Server) -> None:
    assert hutch("compare", "smollm2:135m", "absent", HUTCH_HOST=server.url).returncode != 0
    assert "--tokens" in hutch("compare", "a", "b", "--tokens", "0", HUTCH_HOST=server.url).stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the extra is not installed")
def test_a_model_of_the_store_becomes_an_onnx_model(hutch: Hutch, models_copy: Path) -> None:
    settings = {"HUTCH_MODELS": str(models_copy)}
    words = (
        "optimize",
        "smollm2:135m",
        "--format",
        "onnx",
        "--quant",
        "int4",
        "--to",
        "small:onnx",
        "--json",
    )
    done = hutch(*words, timeout_s=800, **settings)
    assert done.returncode == 0, done.stderr
    told: Any = json.loads(done.stdout)
    (candidate,) = told["candidates"]
    assert (told["created"], candidate["passes"]) == ("small:onnx", True)
    assert candidate["accuracy"]["mean_kl"] < 0.02
    assert candidate["accuracy"]["top1"] > 0.93
    assert Path(told["picture"]).read_text().startswith("<svg ")
    shown: Any = json.loads(hutch("show", "small:onnx", "--json", **settings).stdout)
    assert (shown["details"]["format"], shown["details"]["family"]) == ("onnx", "llama")
    again = hutch(*words, timeout_s=800, **settings)  # nothing is measured twice
    assert json.loads(again.stdout)["candidates"] == told["candidates"]
