"""Tiny decoders of random weights in Hugging Face's layout, and what Transformers makes of them.

`python -m tests.hf_decoders` writes `tests/data/decoders.json` anew. It needs torch and transformers, which no test does.
"""

import importlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tests.hf_folders import Numbers, safetensors

REFERENCE = Path(__file__).parent / "data" / "decoders.json"
PROMPT = tuple((index * 37 + 11) % 256 for index in range(24))
NUM_GREEDY = 6
TOKENS, WIDTH, INNER, HEADS, KV_HEADS = 300, 64, 96, 4, 2
_PLAIN = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "vocab_size": TOKENS,
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 0,
}
_GEMMA = {
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 8,
    "tie_word_embeddings": True,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
        "llama-3.1": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_scaling": _LLAMA3},
        "llama-linear": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 4.0},
        },
        "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None, "head_dim": 16},
        "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
        "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 32},
        "qwen3-yarn": {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "head_dim": 32,
            "rope_scaling": _YARN,
        },
        "gemma2": {
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            **_GEMMA,
        },
        "gemma3": {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "num_hidden_layers": 7,
            "rope_theta": 1e6,
            "rope_local_base_freq": 10000.0,
            **_GEMMA,
        },
        "phi3": {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "sliding_window": None},
    }
)  # fmt: skip


ADAPTED = ("llama", "mistral", "qwen2", "gemma3", "phi3")
_RANK, _ALPHA = 4, 6.0


def write(folder: Path, name: str, *, is_merged: bool = False) -> None:
    """Write the model of that name, its adapter merged into it or not."""
    config = {**_PLAIN, **CONFIGS[name]}
    folder.mkdir(exist_ok=True)
    tensors = _tensors(config)
    for changed, (down, up) in (_factors(tensors) if is_merged else {}).items():
        tensors[changed] = (tensors[changed] + up @ down * (_ALPHA / _RANK)).astype(np.float32)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    (folder / "model.safetensors").write_bytes(safetensors(tensors))


def write_adapter(folder: Path, name: str, **config: Any) -> None:
    """Write an adapter for the model of that name, as PEFT does."""
    said = {"peft_type": "LORA", "r": _RANK, "lora_alpha": _ALPHA, "bias": "none", **config}
    tensors = {}
    for changed, factors in _factors(_tensors({**_PLAIN, **CONFIGS[name]})).items():
        for half, data in zip("AB", factors, strict=True):
            tensors[f"base_model.model.{changed.removesuffix('weight')}lora_{half}.weight"] = data
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(said))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors))


def _factors(tensors: Mapping[str, Numbers]) -> dict[str, tuple[Numbers, Numbers]]:
    """The two factors of what an adapter adds, by the tensor that it is added to."""
    rng = np.random.default_rng(8)
    names = [name for name in tensors if name.endswith("_proj.weight") and "gate_proj" not in name]
    return {
        name: (
            rng.normal(0, 0.2, (_RANK, tensors[name].shape[1])).astype(np.float32),
            rng.normal(0, 0.2, (tensors[name].shape[0], _RANK)).astype(np.float32),
        )
        for name in names
    }


def _tokenizer() -> dict[str, Any]:
    bytes_as_text = [chr(each) if 33 <= each <= 126 else chr(each + 256) for each in range(256)]
    return {
        "model": {
            "type": "BPE",
            "vocab": {text: index for index, text in enumerate(bytes_as_text)},
            "merges": [],
        },
        "pre_tokenizer": {"type": "ByteLevel"},
        "added_tokens": [
            {"id": 256, "content": "<s>", "special": True},
            {"id": 257, "content": "</s>", "special": True},
        ],
    }


def _tensors(config: Mapping[str, Any]) -> dict[str, Numbers]:
    kind = config["model_type"]
    rng = np.random.default_rng(7)
    head = config.get("head_dim", WIDTH // HEADS)
    query, keys = HEADS * head, KV_HEADS * head
    is_gemma = kind.startswith("gemma")

    def numbers(*shape: int, around: float = 0.0, spread: float = 0.2) -> Numbers:
        return rng.normal(around, spread, shape).astype(np.float32)

    def norm(size: int) -> Numbers:
        return numbers(size, around=0.0 if is_gemma else 1.0)

    found = {"model.embed_tokens.weight": numbers(TOKENS, WIDTH), "model.norm.weight": norm(WIDTH)}
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = numbers(TOKENS, WIDTH)
    shapes = {"self_attn.o_proj": (WIDTH, query), "mlp.down_proj": (WIDTH, INNER)}
    if kind == "phi3":
        shapes |= {"self_attn.qkv_proj": (query + 2 * keys, WIDTH), "mlp.gate_up_proj": (2 * INNER, WIDTH)}
    else:
        shapes |= {f"self_attn.{each}_proj": (query if each == "q" else keys, WIDTH) for each in "qkv"}
        shapes |= {f"mlp.{each}_proj": (INNER, WIDTH) for each in ("gate", "up")}
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if is_gemma else []
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, shape in shapes.items():
            found[f"{prefix}{name}.weight"] = numbers(*shape)
            if kind == "qwen2" and name[10] in "qkv" and name.startswith("self"):
                found[f"{prefix}{name}.bias"] = numbers(shape[0])
        for name in norms:
            found[f"{prefix}{name}.weight"] = norm(WIDTH)
        if kind in ("qwen3", "gemma3_text"):
            found |= {f"{prefix}self_attn.{each}_norm.weight": norm(head) for each in "qk"}
    return found


def _reference(folder: Path) -> dict[str, Any]:
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    model, told = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not told["missing_keys"], told
    assert not told["unexpected_keys"], told
    ids, logprobs, margins = list(PROMPT), [], []
    for _ in range(NUM_GREEDY):
        with torch.no_grad():
            scores = torch.log_softmax(model(torch.tensor([ids]), use_cache=False).logits[0, -1], -1)
        best = torch.topk(scores, 2)
        ids.append(int(best.indices[0]))
        logprobs.append(round(float(best.values[0]), 5))
        margins.append(float(best.values[0] - best.values[1]))
    assert min(margins) > 0.01, margins
    return {"tokens": ids[len(PROMPT) :], "logprobs": logprobs}


def main() -> None:
    """Write the reference anew."""
    found = {}
    for name in CONFIGS:
        for is_merged in (False, True)[: 1 + (name in ADAPTED)]:
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), name, is_merged=is_merged)
                found[name + "+lora" * is_merged] = _reference(Path(folder))
    REFERENCE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
