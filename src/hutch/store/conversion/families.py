"""What tells decoders with rotary positions apart: their tensors' names, and what each says besides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hutch.core.errors import NotBuilt
from hutch.formats.gguf_source import shown
from hutch.store.conversion import positions
from hutch.store.conversion.folder import Folder

_HINT = "Convert the model with llama.cpp, and give the GGUF file."
_ATTENTION = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
_NORMS_OF_HEADS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_GATED = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
_TWO_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_FOUR_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_FUSED = {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LOCAL_BASE = 10_000.0  # of Gemma 3's layers with a window; llama.cpp has it built in


def _nothing(folder: Folder, said: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    return {}


def _gemma2(folder: Folder, said: Mapping[str, Any]) -> dict[str, Any]:
    caps = ("attn_logit_softcapping", "final_logit_softcapping")
    return {cap: folder.number(cap) for cap in caps} | _windows(folder, said, 2)


def _gemma3(folder: Folder, said: Mapping[str, Any]) -> dict[str, Any]:
    local = positions.told(folder, "sliding_attention")
    theta = folder.number(
        "rope_local_base_freq",
        local.get("rope_theta")
        if "full_attention" in (folder.config.get("rope_parameters") or {})
        else _LOCAL_BASE,
    )
    if theta != _LOCAL_BASE:
        raise NotBuilt(
            f"config.json: rope_local_base_freq other than {_LOCAL_BASE:g} is not built", hint=_HINT
        )
    for cap in ("attn_logit_softcapping", "final_logit_softcapping"):
        if folder.config.get(cap) is not None:
            raise NotBuilt(f"config.json: {cap} is not built for Gemma 3", hint=_HINT)
    if folder.config.get("use_bidirectional_attention"):
        raise NotBuilt("config.json: use_bidirectional_attention is not built", hint=_HINT)
    return _windows(folder, said, 6)


def _windows(folder: Folder, said: Mapping[str, Any], period: int) -> dict[str, Any]:
    """The window of all layers but each `period`-th, as llama.cpp has it for these models."""
    head = said["attention.key_length"]
    if folder.number("query_pre_attn_scalar", head) != head:
        raise NotBuilt("config.json: query_pre_attn_scalar other than head_dim is not built", hint=_HINT)
    usual = [
        "full_attention" if (layer + 1) % period == 0 else "sliding_attention"
        for layer in range(said["block_count"])
    ]
    if folder.config.get("layer_types", usual) != usual:
        raise NotBuilt("config.json: layer_types in another order is not built", hint=_HINT)
    if folder.config.get("sliding_window_pattern", period) != period:
        raise NotBuilt(f"config.json: sliding_window_pattern other than {period} is not built", hint=_HINT)
    return {"attention.sliding_window": folder.count("sliding_window", 1 << 30)}


def _phi3(folder: Folder, said: Mapping[str, Any]) -> dict[str, Any]:
    share = folder.number("partial_rotary_factor", positions.told(folder).get("partial_rotary_factor", 1.0))
    if share > 1:
        raise NotBuilt(f"config.json: partial_rotary_factor {shown(share)} is not built", hint=_HINT)
    return {"rope.dimension_count": int(said["attention.key_length"] * share)}


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of decoder. `layer`: their names of a layer's tensors, and ours. `more`: keys that only it has."""

    architecture: str
    layer: Mapping[str, str]
    is_paired: bool = False  # rows of queries and keys go in pairs, not in halves
    norm_offset: float = 0.0  # what its norms are stored without
    activation: str = "silu"
    has_windows: bool = False  # llama.cpp knows which of its layers look no further back than that
    is_tied: bool = False  # unless the configuration says otherwise
    has_factors: bool = False  # llama.cpp looks for a tensor of rope factors
    more: Callable[[Folder, Mapping[str, Any]], dict[str, Any]] = _nothing


_gemma = {"norm_offset": 1.0, "activation": "gelu_pytorch_tanh", "has_windows": True, "is_tied": True}
LLAMA = Family("llama", _ATTENTION | _GATED | _TWO_NORMS, is_paired=True, has_factors=True)
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "LlamaForCausalLM": LLAMA,
        "MistralForCausalLM": LLAMA,
        "Qwen2ForCausalLM": Family("qwen2", _ATTENTION | _GATED | _TWO_NORMS),
        "Qwen3ForCausalLM": Family("qwen3", _ATTENTION | _NORMS_OF_HEADS | _GATED | _TWO_NORMS),
        "Gemma2ForCausalLM": Family("gemma2", _ATTENTION | _GATED | _FOUR_NORMS, more=_gemma2, **_gemma),  # type: ignore[arg-type]
        "Gemma3ForCausalLM": Family(
            "gemma3",
            _ATTENTION | _NORMS_OF_HEADS | _GATED | _FOUR_NORMS,
            more=_gemma3,
            **_gemma,  # type: ignore[arg-type]
        ),
        "Phi3ForCausalLM": Family("phi3", _FUSED | _TWO_NORMS, more=_phi3),
    }
)
