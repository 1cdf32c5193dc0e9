"""Llama and its kin: decoders with rotary positions, whose tensors go by the same names."""

from collections.abc import Iterator, Mapping
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf_writer import NewGGUF, NewTensor, entries
from hutch.store.conversion.byte_pairs import byte_pairs
from hutch.store.conversion.folder import MAX_TOKENS, Folder, new_tensor

_MAX_WIDTH = 1 << 20
_ROWS = {"attn_q": "query", "attn_k": "keys", "attn_v": "keys", "ffn_gate": "inner", "ffn_up": "inner"}
_COLUMNS = {"attn_output": "query", "ffn_down": "inner"}
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def convert_llama(folder: Folder) -> NewGGUF:
    """LlamaForCausalLM and MistralForCausalLM. Raises FormatError or NotBuilt."""
    return _convert(folder, "llama")


def convert_qwen2(folder: Folder) -> NewGGUF:
    """Qwen2ForCausalLM. Raises FormatError or NotBuilt."""
    return _convert(folder, "qwen2")


def _convert(folder: Folder, architecture: str) -> NewGGUF:
    _check(folder)
    width, heads = folder.count("hidden_size", _MAX_WIDTH), folder.count("num_attention_heads", 1 << 16)
    head = folder.count("head_dim", _MAX_WIDTH, max(width // heads, 1))
    if head % 2:
        raise FormatError(f"config.json: heads of {head} numbers cannot be turned by rotary positions")
    vocab_size = folder.count("vocab_size", MAX_TOKENS)
    said: dict[str, Any] = {
        "block_count": folder.count("num_hidden_layers", 512),
        "context_length": folder.count("max_position_embeddings", (1 << 31) - 1),
        "embedding_length": width,
        "feed_forward_length": folder.count("intermediate_size", _MAX_WIDTH),
        "attention.head_count": heads,
        "attention.head_count_kv": folder.count("num_key_value_heads", heads, heads),
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": folder.number("rms_norm_eps", 1e-6),
        "rope.dimension_count": head,
        "rope.freq_base": folder.number("rope_theta", _rope(folder).get("rope_theta", 10_000.0)),
        "vocab_size": vocab_size,
    }
    metadata: dict[str, Any] = {"general.architecture": architecture, "general.type": "model"}
    metadata |= {f"{architecture}.{key}": value for key, value in said.items()}
    metadata |= byte_pairs(folder, vocab_size)
    return NewGGUF(entries(metadata), tuple(_tensors(folder, said, is_paired=architecture == "llama")))


def _check(folder: Folder) -> None:
    """Raise NotBuilt for what would be converted into a model that answers otherwise."""
    config = folder.config
    if config.get("hidden_act", "silu") != "silu":
        raise NotBuilt("config.json: hidden_act other than silu is not built")
    for key in ("rope_scaling", "quantization_config"):
        if config.get(key):
            raise NotBuilt(
                f"config.json: {key} is not built",
                hint="Convert the model with llama.cpp, and give the GGUF file.",
            )
    if _rope(folder).get("rope_type", "default") != "default":
        raise NotBuilt(
            "config.json: rope_parameters other than default are not built",
            hint="Convert the model with llama.cpp, and give the GGUF file.",
        )
    window, context = config.get("sliding_window"), config.get("max_position_embeddings")
    if window is not None and config.get("use_sliding_window", True) and window != context:
        raise NotBuilt("config.json: sliding_window is not built", hint="Convert the model with llama.cpp.")


def _rope(folder: Folder) -> Mapping[str, Any]:
    """What newer files say of rotary positions in one place. Raises FormatError where it is no number."""
    said = folder.config.get("rope_parameters") or {}
    theta = said.get("rope_theta", 1.0) if isinstance(said, dict) else None
    if not isinstance(theta, int | float) or isinstance(theta, bool) or not 0 < theta < 1e12:
        raise FormatError("config.json: rope_parameters cannot be read")
    return said


def _tensors(folder: Folder, said: Mapping[str, Any], *, is_paired: bool) -> Iterator[NewTensor]:
    width, head = said["embedding_length"], said["attention.key_length"]
    heads = {"attn_q": said["attention.head_count"], "attn_k": said["attention.head_count_kv"]}
    sizes = {
        "query": heads["attn_q"] * head,
        "keys": heads["attn_k"] * head,
        "inner": said["feed_forward_length"],
    }
    stored = dict(folder.tensors)

    def take(theirs: str, ours: str, shape: tuple[int, ...]) -> NewTensor:
        if theirs not in stored:
            raise FormatError(
                f"the model has no tensor {theirs}", hint="Give all of its *.safetensors files."
            )
        turned = heads.get(ours.split(".")[-2], 0) if is_paired else 0
        return new_tensor(stored.pop(theirs), ours, shape, heads=turned)

    yield take("model.embed_tokens.weight", "token_embd.weight", (said["vocab_size"], width))
    yield take("model.norm.weight", "output_norm.weight", (width,))
    head_of_words = stored.pop("lm_head.weight", None)
    if folder.config.get("tie_word_embeddings") is not True:
        if head_of_words is None:
            raise FormatError("the model has no tensor lm_head.weight")
        yield new_tensor(head_of_words, "output.weight", (said["vocab_size"], width))
    for layer in range(said["block_count"]):
        for theirs, ours in _LAYER.items():
            rows, columns = sizes.get(_ROWS.get(ours, ""), width), sizes.get(_COLUMNS.get(ours, ""), width)
            shape = (width,) if ours.endswith("norm") else (rows, columns)
            their_name, our_name = f"model.layers.{layer}.{theirs}", f"blk.{layer}.{ours}"
            yield take(f"{their_name}.weight", f"{our_name}.weight", shape)
            if f"{their_name}.bias" in stored:
                yield take(f"{their_name}.bias", f"{our_name}.bias", (rows,))
    left = [name for name in stored if not name.endswith("rotary_emb.inv_freq")]
    if left:
        raise NotBuilt(f"tensor {left[0][:80]} is not built", hint="Convert the model with llama.cpp.")
