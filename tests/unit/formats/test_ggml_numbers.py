"""Numbers into ggml's formats, set against the same formulas in plain Python."""

import struct

import numpy as np
import pytest

from hutch.formats.ggml_numbers import decode, encode

VALUES = np.random.default_rng(7).normal(0, 1, 4 * 32).astype(np.float32)


def _half(value: float) -> bytes:
    return struct.pack("<e", value)


def _q8_0(block: list[np.float32]) -> bytes:
    scale = np.float32(max(abs(each) for each in block)) / np.float32(127)
    inverse = np.float32(1) / scale if scale else np.float32(0)
    numbers = [int(abs(each * inverse) + np.float32(0.5)) * (1 if each >= 0 else -1) for each in block]
    return _half(float(scale)) + struct.pack("<32b", *numbers)


def _q4_0(block: list[np.float32]) -> bytes:
    scale = max(block, key=abs) / np.float32(-8)
    inverse = np.float32(1) / scale if scale else np.float32(0)
    numbers = [min(15, int(each * inverse + np.float32(8.5))) for each in block]
    return _half(float(scale)) + bytes(
        low | high << 4 for low, high in zip(numbers[:16], numbers[16:], strict=True)
    )


@pytest.mark.parametrize(("name", "of_block"), [("Q8_0", _q8_0), ("Q4_0", _q4_0)])
def test_blocks_are_as_ggmls_reference_makes_them(name: str, of_block: object) -> None:
    values = np.concatenate((VALUES, np.zeros(32, np.float32), -np.abs(VALUES[:32])))
    blocks = [list(values[start : start + 32]) for start in range(0, len(values), 32)]
    assert callable(of_block)
    assert encode(name, values) == b"".join(of_block(block) for block in blocks)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_floats_come_back_as_near_as_their_format_allows(name: str) -> None:
    back = decode(name, encode(name, VALUES))
    assert np.abs(back - VALUES).max() <= {"F32": 0, "F16": 2**-9, "BF16": 2**-6}[name]
    assert encode(name, back) == encode(name, VALUES)


def test_bfloat_rounds_to_even_and_keeps_what_is_no_number() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F800001, 0x7F800000], "<u4")
    packed = np.frombuffer(encode("BF16", bits.view("<f4")), "<u2")
    assert [hex(each) for each in packed] == ["0x3f80", "0x3f82", "0x3f81", "0x7fc0", "0x7f80"]


def test_what_half_precision_cannot_hold_becomes_infinite() -> None:
    assert decode("F16", encode("F16", np.array([1e9, -1e9], np.float32))).tolist() == [np.inf, -np.inf]
