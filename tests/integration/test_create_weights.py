"""`hutch create` from weights of other forms, run by the real engine."""

import hashlib
import struct
import subprocess
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hutch.formats import gguf, gguf_writer
from hutch.formats.ggml_numbers import encode
from hutch.formats.gguf_writer import NewGGUF, NewTensor
from tests import hf_folders
from tests.conftest import Server

WIDTH, INNER, LAYERS, NUM_TOKENS = 64, 96, 2, 300
rng = np.random.default_rng(5)


def _tensor(name: str, *shape: int) -> NewTensor:
    data = encode("F32", rng.normal(1 if "norm" in name else 0, 0.05, shape).astype(np.float32))
    return NewTensor(name, tuple(reversed(shape)), "F32", lambda: (data,))


def tiny_llama() -> NewGGUF:
    """A llama of two layers with random weights and a vocabulary of bytes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"w{index}" for index in range(NUM_TOKENS - len(tokens))]
    types = [2, 3, 3, *[6] * 256, *[1] * (NUM_TOKENS - 259)]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.file_type": 0,
        "llama.block_count": LAYERS,
        "llama.context_length": 128,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 4,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": WIDTH // 4,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": array("f", [0.0] * NUM_TOKENS),
        "tokenizer.ggml.token_type": array("i", types),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    tensors = [_tensor("token_embd.weight", NUM_TOKENS, WIDTH), _tensor("output_norm.weight", WIDTH)]
    tensors.append(_tensor("output.weight", NUM_TOKENS, WIDTH))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors.append(_tensor(f"blk.{layer}.{name}.weight", WIDTH, WIDTH))
        for name in ("attn_norm", "ffn_norm"):
            tensors.append(_tensor(f"blk.{layer}.{name}.weight", WIDTH))
        for name, shape in (
            ("ffn_gate", (INNER, WIDTH)),
            ("ffn_up", (INNER, WIDTH)),
            ("ffn_down", (WIDTH, INNER)),
        ):
            tensors.append(_tensor(f"blk.{layer}.{name}.weight", *shape))
    return NewGGUF(gguf_writer.entries(metadata), tuple(tensors))


def in_shards(model: NewGGUF, folder: Path) -> None:
    """Write a model as three files."""
    folder.mkdir()
    for index in range(3):
        entries = dict(model.entries) if index == 0 else {}
        for key, code, value in (("no", 2, index), ("count", 2, 3), ("tensors.count", 5, len(model.tensors))):
            raw = f"split.{key}".encode()
            number = struct.pack("<IH" if code == 2 else "<Ii", code, value)
            entries[f"split.{key}"] = struct.pack("<Q", len(raw)) + raw + number
        part = NewGGUF(entries, model.tensors[index::3])
        (folder / f"m-{index + 1:05}-of-00003.gguf").write_bytes(b"".join(part.pieces()))


def test_weights_are_merged_converted_quantised_and_run(
    hutch: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path, serve: Callable[..., Server]
) -> None:
    in_shards(tiny_llama(), tmp_path / "m")
    hf_folders.llama(tmp_path / "hf")
    for name, source, words in (
        ("plain", "./m", ()),
        ("half", "./m/m-00002-of-00003.gguf", ("-q", "f16")),
        ("eight", "./m", ("-q", "q8_0")),
        ("four", "./m", ("--quantize", "Q4_0")),
        ("converted", "./hf", ()),
        ("both", "./hf", ("-q", "q8_0")),
    ):
        (tmp_path / "Modelfile").write_text(f"FROM {source}\n")
        done = hutch("create", name, *words)
        assert done.returncode == 0, done.stderr
    again = hutch("create", "five", "-q", "q4_k_m")
    assert again.returncode == 2
    assert "hutch engine build" in again.stderr
    server = serve(tmp_path / "home" / "models")
    listed = {row["name"]: row["details"]["quantization_level"] for row in server.get("/api/tags")["models"]}
    assert listed == {
        "plain:latest": "F32",
        "half:latest": "F16",
        "eight:latest": "Q8_0",
        "four:latest": "Q4_0",
        "converted:latest": "F16",
        "both:latest": "Q8_0",
    }
    said = {}
    for name in listed:
        body = {"model": name, "prompt": "hello", "raw": True, "stream": False}
        status, reply = server.post("/api/generate", body | {"options": {"temperature": 0, "num_predict": 8}})
        assert status == 200, reply
        said[name] = reply["response"]
    assert said["plain:latest"] == said["half:latest"] != ""


def test_the_api_quantises_and_refuses_in_ollamas_words(
    serve: Callable[..., Server], models_copy: Path, tmp_path: Path
) -> None:
    server = serve(models_copy)
    body = {"model": "x", "from": "smollm2:135m", "quantize": "q8_0", "stream": False}
    status, reply = server.post("/api/create", body)
    assert (status, reply["error"]) == (400, "quantization is only supported for F16, BF16 and F32 models")
    status, reply = server.post("/api/create", body | {"quantize": "q9"})
    assert (status, reply["error"][:35]) == (400, "unsupported quantization type q9 - ")
    model = b"".join(tiny_llama().pieces())
    digest = f"sha256:{hashlib.sha256(model).hexdigest()}"
    server.post(f"/api/blobs/{digest}", model)
    wanted = {"model": "x", "files": {"x.gguf": digest}, "quantize": "q8_0"}
    told = [line["status"] for line in server.post("/api/create", wanted)[1]]
    assert "quantizing F32 model to Q8_0" in told
    assert told[-1] == "success"
    (path,) = [
        blob
        for blob in (models_copy / "blobs").iterdir()
        if blob.stat().st_size < len(model) < 4 * blob.stat().st_size
    ]
    assert gguf.read(path).file_type == "Q8_0"
