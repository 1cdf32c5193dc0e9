"""Images judged by their first bytes."""

import struct
import tracemalloc
import zlib
from itertools import pairwise

import pytest

from hutch.core.errors import FormatError
from hutch.formats import images
from tests import picture_files as files


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (files.png(), "image/png"),
        (files.jpeg(640, 480), "image/jpeg"),
        (files.jpeg(640, 480, marker=0xC2), "image/jpeg"),
        (files.gif(3, 4), "image/gif"),
        (files.bmp(3, -4), "image/bmp"),
        (files.webp_extended(10, 20), "image/webp"),
        (files.webp_lossless(10, 20), "image/webp"),
        (files.webp_lossy(10, 20), "image/webp"),
    ],
)
def test_a_type_is_known_by_the_bytes(data: bytes, media_type: str) -> None:
    assert images.checked_type(data) == media_type


@pytest.mark.parametrize(
    "make",
    [
        files.png_header,
        files.jpeg,
        files.gif,
        files.bmp,
        files.webp_extended,
        files.webp_lossless,
        files.webp_lossy,
    ],
)
def test_a_size_beyond_all_bounds_is_refused_unopened(make: object) -> None:
    with pytest.raises(FormatError, match="16000 × 16000 pixels"):
        images.checked_type(make(16000, 16000))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no image"),
        (b"<svg/>", "no image"),
        (b"%PDF-1.7", "no image"),
        (b"RIFF\0\0\0\0WAVEfmt ", "no WebP"),
        (files.png_header(0, 5), "0 × 5"),
        (files.png()[:20], "no PNG"),
        (b"\xff\xd8\xff", "broken off"),
        (files.jpeg(5, 5)[:30], "broken off"),
        (b"\xff\xd8\xff\xe0\0\0" + b"\xff\xe0\0\0" * 50, "no JPEG"),
        (b"GIF89a\1", "broken off"),
        (b"BM\0", "broken off"),
        (b"RIFF\0\0\0\0WEBPVP8X", "broken off"),
        (files.webp_extended(5, 5, flags=2), "moves"),
    ],
)
def test_what_is_no_whole_image_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        images.checked_type(data)


def test_every_beginning_of_an_image_is_judged_without_a_crash() -> None:
    for data in (files.png(), files.jpeg(9, 9), files.gif(9, 9), files.bmp(9, 9), files.webp_lossy(9, 9)):
        for end in range(len(data)):
            try:
                images.checked_type(data[:end])
            except FormatError:
                continue


def test_a_png_may_unpack_to_what_its_pixels_need() -> None:
    images.check_inflates(files.png(100, 50))
    images.check_inflates(files.png_header(5, 5))  # nothing to unpack: the engine says so


@pytest.mark.parametrize("num_chunks", [1, 9])
def test_a_png_that_unpacks_to_more_is_a_bomb(num_chunks: int) -> None:
    bomb = zlib.compress(bytes(1 << 22))
    ends = [len(bomb) * i // num_chunks for i in range(num_chunks + 1)]
    pieces = b"".join(files._png_chunk(b"IDAT", bomb[a:b]) for a, b in pairwise(ends))
    with pytest.raises(FormatError, match="unpacks to far more"):
        images.check_inflates(files.png_header(8, 8) + pieces)


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(files.png(64, 64))
    data[43] ^= 0xFF
    with pytest.raises(FormatError, match="damaged"):
        images.check_inflates(bytes(data))


def _wide_png(rows: bytes, more: int = 0) -> bytes:
    """A PNG of a million pixels in one row: its data packed, and as many chunks of a byte after its end."""
    header = struct.pack(">IIBBBBB", 1_000_000, 1, 16, 6, 0, 0, 0)
    pieces = [zlib.compress(rows, 9), *([b"x"] * more)]
    chunks = b"".join(struct.pack(">I", len(piece)) + b"IDAT" + piece + bytes(4) for piece in pieces)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + bytes(4) + chunks


def test_a_bomb_is_unpacked_in_steps() -> None:
    bomb = _wide_png(bytes(30 << 20))
    tracemalloc.start()
    with pytest.raises(FormatError, match="unpacks to far more"):
        images.check_inflates(bomb)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_what_follows_the_end_of_the_data_is_not_unpacked() -> None:
    images.check_inflates(_wide_png(b"row", more=200_000))


@pytest.mark.parametrize("filler", [b"\0", b"\xff\x01", b"\xff\xe0\0\2", b"\xff"])
def test_a_jpeg_without_a_frame_is_refused_soon(filler: bytes) -> None:
    with pytest.raises(FormatError):
        images.checked_type(b"\xff\xd8\xff\xe0" + b"\0\2" + filler * (8 << 20))
