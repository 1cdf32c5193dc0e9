"""What an image's first bytes say: its type and its size in pixels, believed before anything is unpacked. Pure.

The engine reads PNG, JPEG, GIF and BMP; WebP has to be turned into PNG first.
"""

import struct
import zlib
from collections.abc import Iterator

from hutch.core.errors import FormatError

PNG, JPEG, GIF, BMP, WEBP = "image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp"
_MAX_SEGMENTS = 4096  # of a JPEG, before its first frame
_STEP_BYTES = 1 << 20
_SLACK_BYTES = 64 << 10
MAX_PIXELS = 50_000_000  # of one image: 150 MB where the engine unpacks it
_HINT = "Send a PNG, JPEG, GIF, BMP or WebP image."
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # markers among JPEG's frames that are none
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types
_PNG_HEADER = 33
_VP8_START = b"\x9d\x01\x2a"


def checked_type(data: bytes) -> str:
    """The image's media type. Raises FormatError for what is none, is broken off, or has too many pixels."""
    media_type, measure = _KINDS.get(data[:4], _BY_TWO.get(data[:2], ("", _nothing)))
    try:
        width, height = measure(data)
    except (struct.error, IndexError):
        raise FormatError("the image is broken off", hint="Send all of it.") from None
    if min(width, height) <= 0:
        raise FormatError(f"the image has {width} × {height} pixels", hint=_HINT)
    if width * height > MAX_PIXELS:
        raise FormatError(
            f"the image has {width} × {height} pixels, and {MAX_PIXELS:,} are the most",
            hint="Make it smaller.",
        )
    return media_type


def check_inflates(data: bytes) -> None:
    """Raise FormatError for a PNG that unpacks to more than its size in pixels needs: the engine would go on and on."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if colour not in _CHANNELS or depth > 16:
        raise FormatError("the image is no PNG that can be read", hint=_HINT)
    # Each row has a byte of its own; interlaced, there are twice as many rows, each filled up to a byte.
    left_bytes = -(-width * _CHANNELS[colour] * depth // 8) * height + 4 * (height + 8) + _SLACK_BYTES
    unpacking = zlib.decompressobj()
    try:
        for chunk in _png_data(data):
            packed = chunk
            while packed:  # in steps, of which nothing is kept but the count
                left_bytes -= len(unpacking.decompress(packed, _STEP_BYTES))
                packed = unpacking.unconsumed_tail
                if left_bytes < 0:
                    raise FormatError("the image unpacks to far more than its pixels need", hint=_HINT)
            if unpacking.eof:
                break
    except zlib.error as error:
        raise FormatError(f"the image is damaged: {error}", hint=_HINT) from error


def _png_data(data: bytes) -> Iterator[bytes]:
    at = _PNG_HEADER
    while at + 8 <= len(data):
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + size]
        at += 12 + size


def _nothing(_data: bytes) -> tuple[int, int]:
    raise FormatError("this is no image of a known type", hint=_HINT)


def _png(data: bytes) -> tuple[int, int]:
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < _PNG_HEADER:
        raise FormatError("the image is no PNG that can be read", hint=_HINT)
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    """From the first frame's header, past all that stands before it."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == 0xFF:  # fills
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise FormatError("the image is no JPEG that can be read", hint=_HINT)


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return width, abs(height)


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[8:16]
    if kind == b"WEBPVP8X":
        if data[20] & 2:
            raise FormatError("the image moves, and only still ones are seen", hint=_HINT)
        sizes = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return next(sizes), next(sizes)
    if kind == b"WEBPVP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"WEBPVP8 " and data[23:26] == _VP8_START:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise FormatError("the image is no WebP that can be read", hint=_HINT)


_KINDS = {b"\x89PNG": (PNG, _png), b"GIF8": (GIF, _gif), b"RIFF": (WEBP, _webp)}
_BY_TWO = {b"\xff\xd8": (JPEG, _jpeg), b"BM": (BMP, _bmp)}
