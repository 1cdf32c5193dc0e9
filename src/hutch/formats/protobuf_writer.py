"""Protocol Buffers' wire format, written: a message is its fields one after another. Follows "Encoding" of protobuf.dev."""

import struct

_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def number(field: int, value: int) -> bytes:
    """An integer that is not negative."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def single(field: int, value: float) -> bytes:
    """A float of 32 bits."""
    return _varint(field << 3 | _FIXED32) + struct.pack("<f", value)


def text(field: int, value: str) -> bytes:
    """A text in UTF-8."""
    return message(field, value.encode())


def message(field: int, *parts: bytes) -> bytes:
    """A message of these fields; of one part, its bytes as they are."""
    return b"".join((_varint(field << 3 | _BYTES), _varint(sum(map(len, parts))), *parts))


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
