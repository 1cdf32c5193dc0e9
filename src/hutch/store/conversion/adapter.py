"""LoRA adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors` as GGUF, for a base in GGUF."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats import lora
from hutch.formats.gguf import GGUF, Tensor
from hutch.formats.gguf_source import shown
from hutch.formats.gguf_writer import NewGGUF, NewTensor, entries
from hutch.formats.safetensors import StoredTensor
from hutch.store.conversion.families import FAMILIES, Family
from hutch.store.conversion.folder import Folder, new_tensor, opened

CONFIG = "adapter_config.json"
_NAME = re.compile(r"(?:base_model\.model\.)?(.+?)\.lora_([AB])(?:\.default)?\.weight")
_IN_LAYER = re.compile(r"model\.layers\.([0-9]{1,4})\.(.+)")
_HINT = "Merge the adapter into its base and convert that, or give the adapter as GGUF."
# What would change the arithmetic, with the values that do not.
_USUAL: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA", None),
    "bias": ("none", None),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "alpha_pattern": (None, {}),
    "trainable_token_indices": (None, []),
}


def converted(files: Mapping[str, Path], base: GGUF) -> NewGGUF:
    """The adapter that these files make for `base`. Raises BadInput, FormatError or NotBuilt."""
    folder = opened(files, CONFIG)
    family = next((each for each in FAMILIES.values() if each.architecture == base.architecture), None)
    if family is None:
        known = ", ".join(sorted({each.architecture for each in FAMILIES.values()}))
        raise NotBuilt(
            f"adapters in safetensors are not built for {base.architecture} models",
            hint=f"They are for {known}. {_HINT}",
        )
    for key, usual in _USUAL.items():
        if folder.config.get(key) not in usual:
            raise NotBuilt(f"{CONFIG}: {key} {shown(folder.config[key])} is not built", hint=_HINT)
    alpha = folder.number("lora_alpha")
    if folder.config.get("use_rslora"):
        alpha *= math.sqrt(folder.count("r", 1 << 16))  # the engine divides by the rank, and this by its root
    metadata = {
        "general.architecture": base.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha,
    }
    tensors = tuple(_tensors(folder, family, base))
    facts = tuple(Tensor(each.name, each.shape, each.type_name, 0, each.size_bytes) for each in tensors)
    lora.check(GGUF(3, metadata, facts, 0), base)
    return NewGGUF(entries(metadata), tensors)


def _tensors(folder: Folder, family: Family, base: GGUF) -> Iterator[NewTensor]:
    heads = {
        "attn_q": base.metadata.get(f"{base.architecture}.attention.head_count"),
        "attn_k": base.metadata.get(f"{base.architecture}.attention.head_count_kv"),
    }
    for name, stored in folder.tensors.items():
        found = _NAME.fullmatch(name)
        ours = _ours(found[1], family) if found else ""
        if not found or not ours:
            raise NotBuilt(f"the adapter's tensor {shown(name)} is not built", hint=_HINT)
        half = found[2].lower()
        turned = heads.get(ours.rpartition(".")[2]) if family.is_paired and half == "b" else 0
        yield new_tensor(
            stored,
            f"{ours}.weight.lora_{half}",
            _matrix(stored),
            keep_type=False,
            heads=_fitting(stored, turned) if turned else 0,
        )


def _ours(theirs: str, family: Family) -> str:
    """Our name of the tensor that is changed; empty where it cannot be."""
    if theirs == "lm_head":
        return "output"
    found = _IN_LAYER.fullmatch(theirs)
    ours = family.layer.get(found[2], "") if found else ""
    return f"blk.{int(found[1])}.{ours}" if found and ours and not ours.endswith("norm") else ""


def _matrix(stored: StoredTensor) -> tuple[int, ...]:
    if len(stored.shape) != 2 or not all(stored.shape):
        raise FormatError(f"the adapter's tensor {shown(stored.name)} is no matrix")
    return stored.shape


def _fitting(stored: StoredTensor, heads: object) -> int:
    if type(heads) is not int or heads < 1 or stored.shape[0] % (2 * heads):
        raise FormatError(f"the adapter's tensor {shown(stored.name)} does not fit the model's heads")
    return heads
