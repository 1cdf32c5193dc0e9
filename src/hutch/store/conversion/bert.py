"""BERT: an encoder that turns texts into vectors."""

from collections.abc import Iterator, Mapping
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf_writer import NewGGUF, NewTensor, entries
from hutch.store.conversion import tokens
from hutch.store.conversion.folder import MAX_TOKENS, Folder, new_tensor

_MAX_WIDTH = 1 << 20
_POOLING = {"pooling_mode_mean_tokens": 1, "pooling_mode_cls_token": 2, "pooling_mode_lasttoken": 3}
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def convert(folder: Folder) -> NewGGUF:
    """The model as GGUF. Raises FormatError or NotBuilt."""
    config = folder.config
    for key, allowed in (("position_embedding_type", "absolute"), ("hidden_act", "gelu")):
        if config.get(key, allowed) != allowed:
            raise NotBuilt(f"config.json: {key} other than {allowed} is not built")
    width, layers = folder.count("hidden_size", _MAX_WIDTH), folder.count("num_hidden_layers", 512)
    vocabulary = tokens.word_pieces(folder, folder.count("vocab_size", MAX_TOKENS))
    metadata: dict[str, Any] = {
        "general.architecture": "bert",
        "general.type": "model",
        "bert.block_count": layers,
        "bert.context_length": folder.count("max_position_embeddings", 1 << 24),
        "bert.embedding_length": width,
        "bert.feed_forward_length": folder.count("intermediate_size", _MAX_WIDTH),
        "bert.attention.head_count": folder.count("num_attention_heads", 1 << 16),
        "bert.attention.layer_norm_epsilon": folder.number("layer_norm_eps", 1e-12),
        "bert.attention.causal": False,
        "bert.pooling_type": _pooling(folder.json("1_Pooling/config.json")),
        **vocabulary,
        "tokenizer.ggml.token_type_count": folder.count("type_vocab_size", 1 << 16, 2),
    }
    return NewGGUF(entries(metadata), tuple(_tensors(folder, metadata)))


def _pooling(said: Mapping[str, Any] | None) -> int:
    modes = [key for key, value in (said or {}).items() if key.startswith("pooling_mode_") and value is True]
    if not modes:
        return _POOLING["pooling_mode_mean_tokens"]  # as sentence-transformers does
    if len(modes) > 1 or modes[0] not in _POOLING:
        raise NotBuilt(f"1_Pooling/config.json: {' with '.join(modes)} is not built")
    return _POOLING[modes[0]]


def _tensors(folder: Folder, metadata: Mapping[str, Any]) -> Iterator[NewTensor]:
    width, inner = metadata["bert.embedding_length"], metadata["bert.feed_forward_length"]
    embeddings = {
        "word_embeddings": ("token_embd", len(metadata["tokenizer.ggml.tokens"])),
        "position_embeddings": ("position_embd", metadata["bert.context_length"]),
        "token_type_embeddings": ("token_types", metadata["tokenizer.ggml.token_type_count"]),
    }
    for theirs, (ours, rows) in embeddings.items():
        stored = _stored(folder, f"embeddings.{theirs}.weight")
        # llama.cpp adds the small ones to the others as they are: it wants them as F32
        yield new_tensor(stored, f"{ours}.weight", (rows, width), keep_type=ours == "token_embd")
    for part in ("weight", "bias"):
        yield new_tensor(_stored(folder, f"embeddings.LayerNorm.{part}"), f"token_embd_norm.{part}", (width,))
    shapes = {"ffn_up": (inner, width), "ffn_down": (width, inner)}
    for layer in range(metadata["bert.block_count"]):
        for theirs, ours in _LAYER.items():
            weight = (width,) if ours.endswith("norm") else shapes.get(ours, (width, width))
            for part, shape in (("weight", weight), ("bias", weight[:1])):
                stored = _stored(folder, f"encoder.layer.{layer}.{theirs}.{part}")
                yield new_tensor(stored, f"blk.{layer}.{ours}.{part}", shape)


def _stored(folder: Folder, name: str) -> Any:
    for full in (name, f"bert.{name}"):
        if full in folder.tensors:
            return folder.tensors[full]
    raise FormatError(f"the model has no tensor {name}", hint="Give all of its *.safetensors files.")
