"""Decoders with rotary positions, such as Llama: their configuration and tensors as GGUF."""

from collections.abc import Iterator, Mapping
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf_writer import NewGGUF, NewTensor, entries
from hutch.store.conversion import positions, vocabulary
from hutch.store.conversion.families import FAMILIES, Family
from hutch.store.conversion.folder import MAX_TOKENS, Folder, new_tensor

_MAX_WIDTH = 1 << 20
_HINT = "Convert the model with llama.cpp, and give the GGUF file."


def convert(folder: Folder) -> NewGGUF:
    """The model as GGUF. Raises FormatError or NotBuilt."""
    family = FAMILIES[folder.config["architectures"][0]]
    _check(folder, family)
    said = hyperparameters(folder, family)
    rope = positions.told(folder)
    stretched = positions.factors(rope, said["rope.dimension_count"])
    if stretched is not None and not family.has_factors:
        raise NotBuilt(f"config.json: rope_scaling llama3 is not built for {family.architecture}", hint=_HINT)
    metadata: dict[str, Any] = {"general.architecture": family.architecture, "general.type": "model"}
    metadata |= {f"{family.architecture}.{key}": value for key, value in said.items()}
    metadata |= vocabulary.keys(folder, said["vocab_size"])
    tensors = (*_tensors(folder, said, family), *((stretched,) if stretched else ()))
    return NewGGUF(entries(metadata), tensors)


def hyperparameters(folder: Folder, family: Family) -> dict[str, Any]:
    """What llama.cpp has to know of the model, without the architecture before each key."""
    width, heads = folder.count("hidden_size", _MAX_WIDTH), folder.count("num_attention_heads", 1 << 16)
    head = folder.count("head_dim", _MAX_WIDTH, max(width // heads, 1))
    if head % 2:
        raise FormatError(f"config.json: heads of {head} numbers cannot be turned by rotary positions")
    context = folder.count("max_position_embeddings", (1 << 31) - 1)
    rope = positions.told(folder)
    if not family.has_windows and folder.config.get("use_sliding_window", True):
        # The engine would look further back than the model has learnt to.
        context = min(context, folder.count("sliding_window", (1 << 31) - 1, context))
    said: dict[str, Any] = {
        "block_count": folder.count("num_hidden_layers", 512),
        "context_length": context,
        "embedding_length": width,
        "feed_forward_length": folder.count("intermediate_size", _MAX_WIDTH),
        "attention.head_count": heads,
        "attention.head_count_kv": folder.count("num_key_value_heads", heads, heads),
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": folder.number("rms_norm_eps", 1e-6),
        "rope.dimension_count": head,
        "rope.freq_base": positions.base(rope),
        "vocab_size": folder.count("vocab_size", MAX_TOKENS),
        **positions.scaling(rope, context),
    }
    return said | family.more(folder, said)


def _check(folder: Folder, family: Family) -> None:
    """Raise NotBuilt for what would be converted into a model that answers otherwise."""
    config = folder.config
    activation = config.get("hidden_activation") or config.get("hidden_act") or family.activation
    if activation != family.activation:
        raise NotBuilt(f"config.json: hidden_act other than {family.activation} is not built", hint=_HINT)
    if config.get("quantization_config"):
        raise NotBuilt("config.json: quantization_config is not built", hint=_HINT)


def shapes(family: Family, said: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a layer, by their name for it."""
    width, inner, head = said["embedding_length"], said["feed_forward_length"], said["attention.key_length"]
    query, keys = said["attention.head_count"] * head, said["attention.head_count_kv"] * head
    known = {
        "self_attn.q_proj": (query, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.qkv_proj": (query + 2 * keys, width),
        "self_attn.o_proj": (width, query),
        "self_attn.q_norm": (head,),
        "self_attn.k_norm": (head,),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.gate_up_proj": (2 * inner, width),
        "mlp.down_proj": (width, inner),
    }
    return {theirs: known.get(theirs, (width,)) for theirs in family.layer}


def _tensors(folder: Folder, said: Mapping[str, Any], family: Family) -> Iterator[NewTensor]:
    width = said["embedding_length"]
    heads = {"attn_q": said["attention.head_count"], "attn_k": said["attention.head_count_kv"]}
    stored = dict(folder.tensors)

    def take(theirs: str, ours: str, shape: tuple[int, ...]) -> NewTensor:
        if theirs not in stored:
            raise FormatError(
                f"the model has no tensor {theirs}", hint="Give all of its *.safetensors files."
            )
        turned = heads.get(ours.split(".")[-2], 0) if family.is_paired else 0
        offset = family.norm_offset if ours.endswith("norm.weight") else 0.0
        return new_tensor(stored.pop(theirs), ours, shape, heads=turned, offset=offset)

    yield take("model.embed_tokens.weight", "token_embd.weight", (said["vocab_size"], width))
    yield take("model.norm.weight", "output_norm.weight", (width,))
    head_of_words = stored.pop("lm_head.weight", None)
    if folder.config.get("tie_word_embeddings", family.is_tied) is not True:
        if head_of_words is None:
            raise FormatError("the model has no tensor lm_head.weight")
        yield new_tensor(head_of_words, "output.weight", (said["vocab_size"], width))
    for layer in range(said["block_count"]):
        for theirs, shape in shapes(family, said).items():
            their_name, our_name = f"model.layers.{layer}.{theirs}", f"blk.{layer}.{family.layer[theirs]}"
            yield take(f"{their_name}.weight", f"{our_name}.weight", shape)
            if f"{their_name}.bias" in stored:
                yield take(f"{their_name}.bias", f"{our_name}.bias", shape[:1])
    left = [name for name in stored if not name.endswith("rotary_emb.inv_freq")]
    if left:
        raise NotBuilt(f"tensor {left[0][:80]} is not built", hint="Convert the model with llama.cpp.")
