"""How a variant is made: the recipes that a search tries, and those that stand behind `--format` and `--quant`. Pure.

The order of the ONNX recipes, and why each is there, is in docs/adr/0017-onnx-recipe.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hutch.core.errors import BadInput

# Logits of the last position alone, and one matrix where there were three or two: both make the prefill faster and change no number.
FUSED = {"prune_lm_head": "true", "fuse_qkv": "true", "fuse_mlp_gate_up": "true"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to make a variant. `how` is a step of the job; `options` are its own."""

    name: str
    format: str  # onnx or gguf
    quant: str
    how: str  # build, dynamic, blocks, optimized, ggml
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def spec(self) -> Mapping[str, Any]:
        """What the result depends on, as plain values."""
        return {"format": self.format, "quant": self.quant, "how": self.how, "options": dict(self.options)}


def _built(name: str, quant: str, **options: str) -> Recipe:
    return Recipe(name, "onnx", quant, "build", MappingProxyType({**FUSED, **options}))


# Of a quant's recipes the first one is what `--quant` means.
_AFFINE = Recipe(
    "onnx-int4", "onnx", "int4", "affine", MappingProxyType({"layout": "2"})
)  # of hutch.optimize.affine
_DYNAMIC = Recipe("onnx-dynamic-int8", "onnx", "dynamic-int8", "dynamic")
_KEY = "matmul_mixed_precision"
_HEAD = {_KEY: "last_matmul:int8"}  # the words' own table: four bits are too few for it
_BUILT = (
    _built("onnx-int8", "int8", block_size="32"),
    _built("onnx-int8-64", "int8-64", block_size="64"),
    _built("onnx-int8-128", "int8-128", block_size="128"),
    _built(
        "onnx-int4-mixed", "int4-mixed", algo_config="k_quant", **{_KEY: f"{_HEAD[_KEY]},mixed_layers:int8"}
    ),
    _built("onnx-int4-k-quant", "int4-k-quant", algo_config="k_quant", **_HEAD),
    _built("onnx-int4-rtn", "int4-rtn", algo_config="rtn", **_HEAD),
)
_BLOCKS = Recipe("onnx-int8", "onnx", "int8", "blocks", MappingProxyType({"block_size": "32", "bits": "8"}))
_OPTIMIZED = Recipe("onnx-optimized", "onnx", "optimized", "optimized")
_GGML_BUILT_IN = ("Q8_0", "Q4_0")
_GGML_BY_BINARY = ("Q6_K", "Q5_K_M", "Q4_K_M")


def for_weights(ggml_types: tuple[str, ...]) -> tuple[Recipe, ...]:
    """What can be made of weights that are at hand as floats. `ggml_types`: those of GGUF that can be written here."""
    return (_AFFINE, *_BUILT, _DYNAMIC, *(ggml(name) for name in ggml_types))


def for_graph(*, is_float: bool) -> tuple[Recipe, ...]:
    """What can be made of an ONNX model."""
    return (*((_AFFINE, _BLOCKS, _DYNAMIC) if is_float else ()), _OPTIMIZED)


def ggml(type_name: str) -> Recipe:
    """The recipe of a GGUF file of a number format."""
    return Recipe(f"gguf-{type_name.lower()}", "gguf", type_name.lower(), "ggml")


def ggml_types(*, has_binary: bool) -> tuple[str, ...]:
    """The number formats of GGUF worth trying: those that Hutch writes, and those of llama-quantize where it is."""
    return (*_GGML_BUILT_IN, *(_GGML_BY_BINARY if has_binary else ()))


def only(recipes: tuple[Recipe, ...], format_: str, quant: str) -> tuple[Recipe, ...]:
    """Those that `--format` and `--quant` leave; of one quant the first alone. Raises BadInput where that is none."""
    left = [each for each in recipes if format_ in ("", each.format) and quant in ("", each.quant)]
    if not left:
        known = ", ".join(sorted({f"--format {each.format} --quant {each.quant}" for each in recipes}))
        raise BadInput("there is no such variant of this model", hint=f"There are: {known}.")
    return tuple(left[:1] if quant else left)
