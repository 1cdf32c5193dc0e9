"""SmolLM2 of a GGUF file as ONNX, made without torch: its weights and its tokenizer, in the form that `hutch optimize` gives them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hutch.formats import gguf
from hutch.formats.gguf import GGUF
from hutch.optimize import affine
from hutch.optimize.tokenizer import tokenizer_config, tokenizer_document
from tests.onnx_files import Shape, Weights, genai_config, llama

_BLOCK = 32
_NAMES = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "up": "ffn_up",
    "gate": "ffn_gate",
    "down": "ffn_down",
    "norm1": "attn_norm",
    "norm2": "ffn_norm",
}
_WHOLE = {"embed_tokens": "token_embd", "lm_head": "token_embd", "norm": "output_norm"}


def write(source: Path, target: Path) -> Path:
    """Write the folder: matrices in 4-bit blocks, the head in 8 bits. `source`: a llama of Q4_1, Q8_0 and floats, with tied words."""
    target.mkdir(parents=True, exist_ok=True)
    facts = gguf.read(source)
    shape = _shape(facts.metadata)
    graph = target / "float.onnx"
    onnx.save(llama(shape, _weights(source, facts)), graph, save_as_external_data=True, location="float.data")
    for _ in affine.quantize(graph, target / "model.onnx"):
        pass
    graph.unlink()
    (target / "float.data").unlink()
    documents = {
        "genai_config.json": genai_config(shape),
        "tokenizer.json": tokenizer_document(facts.metadata),
        "tokenizer_config.json": tokenizer_config(facts.metadata),
    }
    for name, document in documents.items():
        (target / name).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return target


def _shape(metadata: Mapping[str, Any]) -> Shape:
    heads = metadata["llama.attention.head_count"]
    return Shape(
        layers=metadata["llama.block_count"],
        hidden=metadata["llama.embedding_length"],
        heads=heads,
        kv_heads=metadata["llama.attention.head_count_kv"],
        head_size=metadata["llama.embedding_length"] // heads,
        inner=metadata["llama.feed_forward_length"],
        context=metadata["llama.context_length"],
        words=len(metadata["tokenizer.ggml.tokens"]),
        rope_base=metadata["llama.rope.freq_base"],
        is_interleaved=True,  # as llama.cpp orders a llama's heads
        epsilon=metadata["llama.attention.layer_norm_rms_epsilon"],
    )


def _weights(source: Path, facts: GGUF) -> Weights:
    tensors = {tensor.name: tensor for tensor in facts.tensors}

    def weights(name: str, *sizes: int) -> NDArray[np.float32]:
        *layer, last = name.split(".")
        ours = f"blk.{layer[1]}.{_NAMES[last]}" if layer else _WHOLE[last]
        tensor = tensors[f"{ours}.weight"]
        with source.open("rb") as file:
            file.seek(facts.data_start + tensor.offset)
            values = _decoded(tensor.type_name, file.read(tensor.size_bytes))
        values = values.reshape(tuple(reversed(tensor.shape)))  # [outputs, inputs]
        if name != "embed_tokens":
            values = values.T
        assert values.shape == sizes, name
        return np.ascontiguousarray(values)

    return weights


def _decoded(type_name: str, data: bytes) -> NDArray[np.float32]:
    if type_name == "F32":
        return np.frombuffer(data, "<f4")
    if type_name == "Q8_0":
        blocks = np.frombuffer(data, [("scale", "<f2"), ("levels", "i1", _BLOCK)])
        return blocks["levels"] * blocks["scale"].astype(np.float32)[:, None]
    assert type_name == "Q4_1", type_name
    blocks = np.frombuffer(data, [("scale", "<f2"), ("least", "<f2"), ("levels", "u1", _BLOCK // 2)])
    levels = np.concatenate([blocks["levels"] & 15, blocks["levels"] >> 4], axis=1)
    scale, least = (blocks[name].astype(np.float32)[:, None] for name in ("scale", "least"))
    return levels * scale + least
