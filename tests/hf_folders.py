"""Folders in Hugging Face's layout with tiny models of random weights: a llama and a BERT."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, INNER, LAYERS, HEADS, KV_HEADS, TOKENS = 64, 96, 2, 4, 2, 300

Numbers = np.ndarray[Any, Any]
_rng = np.random.default_rng(11)


def safetensors(tensors: Mapping[str, Numbers]) -> bytes:
    """A file of F32 and F16 tensors."""
    header, at = {}, 0
    for name, data in tensors.items():
        dtype = {"float16": "F16", "float32": "F32"}[data.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [at, at + data.nbytes]}
        at += data.nbytes
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(data.tobytes() for data in tensors.values())


def numbers(*shape: int, around: float = 0.0) -> Numbers:
    """Random numbers."""
    return _rng.normal(around, 0.05, shape).astype(np.float16)


def llama(folder: Path, config: Mapping[str, Any] | None = None, **tokenizer: Any) -> dict[str, Numbers]:
    """Write a llama with a vocabulary of bytes, in two files; its tensors."""
    said = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "vocab_size": TOKENS,
        "tie_word_embeddings": False,
        "bos_token_id": 256,
        "eos_token_id": [257, 256],
    }
    bytes_as_text = [chr(each) if 33 <= each <= 126 else chr(each + 256) for each in range(256)]
    document = {
        "model": {
            "type": "BPE",
            "vocab": {text: index for index, text in enumerate(bytes_as_text)},
            "merges": ["a b", ["a", "c"]],
        },
        "pre_tokenizer": {"type": "ByteLevel"},
        "added_tokens": [
            {"id": 256, "content": "<s>", "special": True},
            {"id": 257, "content": "</s>", "special": True},
        ],
    }
    document["model"]["vocab"] |= {"ab": 258, "ac": 259}  # type: ignore[index]
    rows = {"q_proj": WIDTH, "k_proj": WIDTH // 2, "v_proj": WIDTH // 2, "o_proj": WIDTH}
    first = {"model.embed_tokens.weight": numbers(TOKENS, WIDTH), "lm_head.weight": numbers(TOKENS, WIDTH)}
    first["model.norm.weight"] = numbers(WIDTH, around=1)
    second: dict[str, Numbers] = {}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        second |= {f"{prefix}self_attn.{name}.weight": numbers(count, WIDTH) for name, count in rows.items()}
        second |= {f"{prefix}mlp.{name}_proj.weight": numbers(INNER, WIDTH) for name in ("gate", "up")}
        second[f"{prefix}mlp.down_proj.weight"] = numbers(WIDTH, INNER)
        second |= {
            f"{prefix}{name}_layernorm.weight": numbers(WIDTH, around=1)
            for name in ("input", "post_attention")
        }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(said | dict(config or {})))
    (folder / "tokenizer.json").write_text(json.dumps(document | tokenizer))
    (folder / "model-00001-of-00002.safetensors").write_bytes(safetensors(first))
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors(second))
    return first | second


def bert(folder: Path, config: Mapping[str, Any] | None = None, **tokenizer: Any) -> None:
    """Write a BERT of one layer and eight words."""
    said = {
        "architectures": ["BertModel"],
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "vocab_size": 8,
        "type_vocab_size": 2,
    }
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "c"]
    document = {
        "model": {"type": "WordPiece", "vocab": {word: index for index, word in enumerate(words)}},
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "added_tokens": [
            {"id": index, "content": word, "special": True} for index, word in enumerate(words[:4])
        ],
    }
    tensors = {"pooler.dense.weight": numbers(2, 2)}
    for name, count in (("word", 8), ("position", 16), ("token_type", 2)):
        tensors[f"bert.embeddings.{name}_embeddings.weight"] = numbers(count, 32)
    places = {
        "attention.self.query": 32,
        "attention.self.key": 32,
        "attention.self.value": 32,
        "attention.output.dense": 32,
    }
    shapes = {name: (32, size) for name, size in places.items()}
    shapes |= {"intermediate.dense": (48, 32), "output.dense": (32, 48)}
    for name, shape in shapes.items():
        tensors[f"bert.encoder.layer.0.{name}.weight"] = numbers(*shape)
        tensors[f"bert.encoder.layer.0.{name}.bias"] = numbers(shape[0])
    for name in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"):
        tensors |= {f"bert.{name}.LayerNorm.{part}": numbers(32) for part in ("weight", "bias")}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(said | dict(config or {})))
    (folder / "tokenizer.json").write_text(json.dumps(document | tokenizer))
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
