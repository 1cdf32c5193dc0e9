"""How many parameters the tensors of ONNX graphs stand for, and in which numbers they are kept. Pure.

Quantised weights are bytes that hold several numbers each, and beside them lie scales that are no parameters; which is which
only the operators tell.
"""

from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from hutch.formats.onnx import ONNX, Operator

# The inputs of operators that are no parameters: scales, zero points, tables of sines.
_NOT_PARAMETERS = {
    "MatMulNBits": (2, 3, 4),
    "GatherBlockQuantized": (2, 3),
    "DequantizeLinear": (1, 2),
    "QuantizeLinear": (1, 2),
    "MatMulInteger": (2, 3),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QMoE": (3, 6, 9),
    "GroupQueryAttention": (7, 8),
    "MultiHeadAttention": (),
    "RotaryEmbedding": (2, 3),
}
# Weights in bytes that hold more than one number: the input, the attribute with the bits of one, and its default.
_PACKED = {
    "MatMulNBits": (1, "bits", 4),
    "GatherBlockQuantized": (0, "bits", 4),
    "QMoE": (2, "expert_weight_bits", 4),
}
_WORDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "uint8": "int8"}
_WORDS |= {"uint4": "int4", "uint2": "int2"}
_SMALL = 2  # dimensions: vectors are kept in full, and say nothing of how the weights are


class Weights(NamedTuple):
    """What the tensors amount to. `file_type` is the numbers that most parameters are in: int4, int8, fp16, fp32 …"""

    num_parameters: int
    file_type: str


def count(graphs: Iterable[ONNX]) -> Weights:
    """Count the parameters of all graphs."""
    total = 0
    by_type: Counter[str] = Counter()
    for graph in graphs:
        passed: set[str] = set()
        bits: dict[str, int] = {}
        for operator in graph.operators:
            passed.update(_inputs(operator, _NOT_PARAMETERS.get(operator.type_name, ())))
            if operator.type_name in _PACKED:
                index, attribute, default = _PACKED[operator.type_name]
                bits |= dict.fromkeys(_inputs(operator, (index,)), operator.integers.get(attribute, default))
        for tensor in graph.tensors:
            if not tensor.name or tensor.name in passed:
                continue
            packed = bits.get(tensor.name, 8) if tensor.type_name == "uint8" else 8
            number = prod(tensor.shape) * 8 // packed if packed in (2, 4, 8) else prod(tensor.shape)
            total += number
            if len(tensor.shape) >= _SMALL:
                kind = f"int{packed}" if packed in (2, 4) else _WORDS.get(tensor.type_name, tensor.type_name)
                by_type[kind] += number
    return Weights(total, max(by_type, key=by_type.__getitem__, default="unknown"))


def _inputs(operator: Operator, indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(operator.inputs[index] for index in indices if index < len(operator.inputs))
