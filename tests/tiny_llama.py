"""A whole Llama of random weights as a folder of Hugging Face's: small enough to be converted within seconds."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hutch.optimize.tokenizer import tokenizer_document

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, CONTEXT = 2, 64, 128, 2, 1, 2048
_BYTES = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
_BYTES += [chr(256 + index) for index in range(256 - len(_BYTES))]
_SPECIAL = ("<|im_start|>", "<|im_end|>")


_TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}{% endfor %}"


def write(folder: Path, *, seed: int = 0, spread: float = 0.6, template: str = _TEMPLATE) -> None:
    """Write the folder. A larger `spread` of the weights makes surer guesses."""
    folder.mkdir(parents=True)
    vocabulary = [*_SPECIAL, *_BYTES, *(f"[{index}]" for index in range(62))]
    _write_json(folder / "config.json", _config(len(vocabulary)))
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tuple(vocabulary),
        "tokenizer.ggml.token_type": [3, 3, *[1] * (len(vocabulary) - 2)],
        "tokenizer.ggml.merges": (),
        "tokenizer.ggml.add_bos_token": False,
    }
    _write_json(folder / "tokenizer.json", tokenizer_document(metadata))
    said = {"tokenizer_class": "GPT2Tokenizer", "bos_token": _SPECIAL[0], "eos_token": _SPECIAL[1]}
    _write_json(folder / "tokenizer_config.json", {**said, "add_bos_token": False, "chat_template": template})
    _write_safetensors(folder / "model.safetensors", _tensors(len(vocabulary), seed, spread))


def _config(size: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": size,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }


def _tensors(size: int, seed: int, spread: float) -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(seed)
    kv_width = WIDTH // HEADS * KV_HEADS
    shapes = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (kv_width, WIDTH),
        "self_attn.v_proj": (kv_width, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (INNER, WIDTH),
        "mlp.up_proj": (INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
    }
    tensors = {"model.embed_tokens.weight": generator.normal(0, spread, (size, WIDTH))}
    tensors["model.norm.weight"] = np.ones(WIDTH)
    for layer in range(LAYERS):
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{name}.weight"] = np.ones(WIDTH)
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = generator.normal(0, shape[1] ** -0.5, shape)
    return {name: values.astype("<f4") for name, values in tensors.items()}


def _write_safetensors(path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(each.tobytes() for each in tensors.values())
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
