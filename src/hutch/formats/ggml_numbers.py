"""Numbers of a tensor into ggml's formats and back, with NumPy: the formats that a model is converted to.

The roundings are those of ggml's own `quantize_row_…_ref`, so that files come out as llama.cpp would write them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_BLOCK = 32


def decode(type_name: str, data: bytes) -> Floats:
    """The numbers in bytes of a float format: F32, F16, BF16."""
    if type_name == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[type_name]).astype("<f4", copy=False)


def encode(type_name: str, values: Floats) -> bytes:
    """Numbers as bytes of a format of ENCODERS; as many as fill its blocks."""
    with np.errstate(over="ignore", invalid="ignore"):  # what F16 cannot hold becomes infinite, as in ggml
        return ENCODERS[type_name](np.ascontiguousarray(values, "<f4").reshape(-1))


def _f32(values: Floats) -> bytes:
    return values.tobytes()


def _f16(values: Floats) -> bytes:
    return values.astype("<f2").tobytes()


def _bf16(values: Floats) -> bytes:
    bits = values.view("<u4")
    rounded = bits + (0x7FFF + ((bits >> 16) & 1))  # to the nearest, ties to even
    quiet = bits | np.uint32(0x0040_0000)  # rounding could carry a NaN over into an infinity
    return (np.where(np.isnan(values), quiet, rounded) >> 16).astype("<u2").tobytes()


def _q8_0(values: Floats) -> bytes:
    blocks = values.reshape(-1, _BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    scaled = blocks * _inverse(scale)
    # away from zero at a half, as C's roundf does it
    numbers = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    return np.hstack((scale.astype("<f2").view(np.uint8), numbers.view(np.uint8))).tobytes()


def _q4_0(values: Floats) -> bytes:
    blocks = values.reshape(-1, _BLOCK)
    farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = farthest / np.float32(-8)
    numbers = np.trunc(blocks * _inverse(scale) + np.float32(8.5)).clip(0, 15).astype(np.uint8)
    halves = numbers.reshape(-1, 2, _BLOCK // 2)
    packed = halves[:, 0] | (halves[:, 1] << 4)
    return np.hstack((scale.astype("<f2").view(np.uint8), packed)).tobytes()


def _inverse(scale: Floats) -> Floats:
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)


ENCODERS: Mapping[str, Callable[[Floats], bytes]] = MappingProxyType(
    {"F32": _f32, "F16": _f16, "BF16": _bf16, "Q8_0": _q8_0, "Q4_0": _q4_0}
)
