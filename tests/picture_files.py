"""Image files made of a few bytes: whole ones, and headers that claim a size."""

import struct
import zlib


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 8, height: int = 8, colour: bytes = b"\xff\x00\x00", rows: bytes | None = None) -> bytes:
    """A PNG of one colour. `rows`: what it unpacks to instead."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress((b"\0" + colour * width) * height if rows is None else rows)
    parts = (_png_chunk(b"IHDR", header), _png_chunk(b"IDAT", data), _png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and ends there."""
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def jpeg(width: int, height: int, *, marker: int = 0xC0) -> bytes:
    """The first markers of a JPEG."""
    app = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0".ljust(14, b"\0")
    frame = b"\xff\xff" + bytes((marker,)) + struct.pack(">HBHHB", 17, 8, height, width, 3)
    return b"\xff\xd8" + app + b"\xff\xc4" + struct.pack(">H", 4) + b"\0\0" + frame + bytes(9)


def gif(width: int, height: int) -> bytes:
    """A GIF's header."""
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(8)


def bmp(width: int, height: int) -> bytes:
    """A BMP's header."""
    return b"BM" + bytes(12) + struct.pack("<Iii", 40, width, height) + bytes(28)


def webp(kind: bytes, payload: bytes) -> bytes:
    """A WebP of one chunk."""
    return (
        b"RIFF"
        + struct.pack("<I", len(payload) + 12)
        + b"WEBP"
        + kind
        + struct.pack("<I", len(payload))
        + payload
    )


def webp_extended(width: int, height: int, flags: int = 0) -> bytes:
    """A WebP's extended header."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", bytes((flags, 0, 0, 0)) + size)


def webp_lossless(width: int, height: int) -> bytes:
    """A lossless WebP's header."""
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(4))


def webp_lossy(width: int, height: int) -> bytes:
    """A lossy WebP's header."""
    return webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height))
