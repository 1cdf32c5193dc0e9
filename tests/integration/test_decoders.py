"""Decoders converted from safetensors, run by the real engine: they say what Transformers makes of the same weights."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hutch.formats import gguf
from tests import hf_decoders
from tests.conftest import Server

KNOWN: Any = json.loads(hf_decoders.REFERENCE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def converter(serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return serve(tmp_path_factory.mktemp("decoders"))


def sent(server: Server, folder: Path) -> dict[str, str]:
    """The files of a folder as blobs."""
    files = {}
    for file in folder.iterdir():
        data = file.read_bytes()
        files[file.name] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert server.post(f"/api/blobs/{files[file.name]}", data)[0] in (200, 201)
    return files


def create(server: Server, name: str, **fields: Any) -> tuple[int, Any]:
    return server.post("/api/create", {"model": name, "stream": False, **fields})


def logprobs(server: Server, name: str) -> list[float]:
    """Of the likeliest tokens after the prompt, one after another."""
    body = {"model": name, "prompt": list(hf_decoders.PROMPT), "max_tokens": hf_decoders.NUM_GREEDY}
    status, reply = server.post("/v1/completions", body | {"temperature": 0, "logprobs": 1})
    assert status == 200, reply
    return list(reply["choices"][0]["logprobs"]["token_logprobs"])


def test_every_kind_has_its_reference() -> None:
    assert set(KNOWN) == {*hf_decoders.CONFIGS, *(f"{name}+lora" for name in hf_decoders.ADAPTED)}


@pytest.mark.parametrize("name", hf_decoders.CONFIGS)
def test_a_converted_model_says_what_the_original_says(converter: Server, tmp_path: Path, name: str) -> None:
    hf_decoders.write(tmp_path / "m", name)
    made = create(converter, name, files=sent(converter, tmp_path / "m"))
    assert made[0] == 200, made
    assert logprobs(converter, name) == pytest.approx(KNOWN[name]["logprobs"], abs=0.01)


@pytest.mark.parametrize("name", hf_decoders.ADAPTED)
def test_an_adapter_does_what_it_does_when_merged(converter: Server, tmp_path: Path, name: str) -> None:
    hf_decoders.write(tmp_path / "m", name)
    hf_decoders.write_adapter(tmp_path / "a", name)
    files = {"files": sent(converter, tmp_path / "m"), "adapters": sent(converter, tmp_path / "a")}
    made = create(converter, f"{name}-adapted", **files)
    assert made[0] == 200, made
    known = KNOWN[f"{name}+lora"]["logprobs"]
    assert logprobs(converter, f"{name}-adapted") == pytest.approx(known, abs=0.01)


def test_a_modelfile_names_an_adapters_folder_and_a_drafts(
    hutch: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    hf_decoders.write(tmp_path / "m", "qwen2")
    hf_decoders.write_adapter(tmp_path / "a", "qwen2")
    (tmp_path / "Modelfile").write_text("FROM ./m\nADAPTER ./a\nDRAFT ./m\n")
    done = hutch("create", "adapted", "--draft-quantize", "q8_0")
    assert done.returncode == 0, done.stderr
    assert "quantizing F32 draft to Q8_0" in done.stderr
    shown = hutch("show", "adapted", "--modelfile").stdout
    assert shown.count("\nADAPTER ") == shown.count("\nDRAFT ") == 1
    draft = next(line for line in shown.splitlines() if line.startswith("DRAFT"))
    assert gguf.read(Path(draft.split()[1])).file_type == "Q8_0"
    hf_decoders.write_adapter(tmp_path / "a", "qwen2", use_dora=True)
    refused = hutch("create", "again")
    assert refused.returncode == 2
    assert "adapter_config.json: use_dora True is not built" in refused.stderr
