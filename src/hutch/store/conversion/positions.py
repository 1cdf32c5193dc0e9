"""How rotary positions are stretched: `rope_scaling` and `rope_parameters` of Hugging Face as llama.cpp's keys."""

import math
import struct
from collections.abc import Mapping
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf_source import shown
from hutch.formats.gguf_writer import NewTensor
from hutch.store.conversion.folder import Folder

_HINT = "Convert the model with llama.cpp, and give the GGUF file."
_YARN_DEFAULTS = {"beta_fast": 32, "beta_slow": 1, "truncate": True}
_DEFAULT_BASE = 10_000.0


def told(folder: Folder, kind: str = "full_attention") -> dict[str, Any]:
    """What the configuration says of positions, newer and older files alike. `kind` is of layers that may differ."""
    newer, older = folder.config.get("rope_parameters") or {}, folder.config.get("rope_scaling") or {}
    if not isinstance(newer, dict) or not isinstance(older, dict):
        raise FormatError("config.json: rope_parameters or rope_scaling is no object")
    if isinstance(newer.get(kind), dict):
        newer = newer[kind]
    said = {**older, **newer}
    said.setdefault("rope_type", said.get("type", "default"))
    if isinstance(theta := folder.config.get("rope_theta"), int | float):
        said.setdefault("rope_theta", theta)
    return said


def base(said: Mapping[str, Any]) -> float:
    """The longest wave's measure. Raises FormatError."""
    return _number(said, "rope_theta", _DEFAULT_BASE)


def scaling(said: Mapping[str, Any], context: int) -> dict[str, Any]:
    """The keys, without the architecture before them. Raises NotBuilt for a kind that llama.cpp has no keys for."""
    kind = said["rope_type"]
    if kind in ("default", "llama3"):  # of which the latter is a tensor
        return {}
    if kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": _number(said, "factor")}
    if kind != "yarn":
        raise NotBuilt(f"config.json: rope_scaling of the type {shown(kind)} is not built", hint=_HINT)
    odd = [key for key, usual in _YARN_DEFAULTS.items() if said.get(key, usual) not in (usual, None)]
    odd += [key for key in ("attention_factor", "mscale", "mscale_all_dim") if said.get(key) is not None]
    if odd:
        raise NotBuilt(f"config.json: {odd[0]} of rope_scaling is not built", hint=_HINT)
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": _number(said, "factor"),
        "rope.scaling.original_context_length": int(
            _number(said, "original_max_position_embeddings", context)
        ),
    }


def factors(said: Mapping[str, Any], head: int) -> NewTensor | None:
    """The tensor by which Llama 3.1 stretches slow waves and leaves fast ones; None where nothing is so stretched."""
    if said["rope_type"] != "llama3":
        return None
    factor, original = _number(said, "factor"), _number(said, "original_max_position_embeddings")
    low, high = _number(said, "low_freq_factor"), _number(said, "high_freq_factor")
    if low >= high:
        raise FormatError("config.json: low_freq_factor of rope_scaling is not below high_freq_factor")
    numbers = []
    for index in range(0, head, 2):
        waves = original / (2 * math.pi * base(said) ** (index / head))  # in the original context
        share = min(1.0, max(0.0, (waves - low) / (high - low)))
        numbers.append(1 / ((1 - share) / factor + share))
    data = struct.pack(f"<{len(numbers)}f", *numbers)
    return NewTensor("rope_freqs.weight", (len(numbers),), "F32", lambda: (data,))


def _number(said: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = said.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
        raise FormatError(f"config.json: {key} is {shown(value)}; a number above 0 is needed")
    return float(value)
