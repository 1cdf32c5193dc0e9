"""Images from anywhere, opened."""

import io
import struct
import zlib

import pytest
from PIL import Image, UnidentifiedImageError

from hutch.core.errors import FormatError
from hutch.engines import picture
from hutch.formats.images import checked_type

LARGE = (7100, 7100)


def saved(image: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def two_headed() -> bytes:
    """A PNG of 4 × 4 pixels, until its second header."""
    data = saved(Image.new("L", (4, 4)), "PNG")
    header = b"IHDR" + struct.pack(">II", *LARGE) + data[24:29]
    second = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return data[:33] + second + data[33:]


def beyond_its_screen() -> bytes:
    """A GIF of one pixel, whose frame has more."""
    data = saved(Image.new("L", (1, 1)), "GIF")
    frame = struct.pack("<BHHHH", 0x2C, 0, 0, 1, 1)
    assert data.count(frame) == 1
    return data.replace(frame, struct.pack("<BHHHH", 0x2C, 0, 0, *LARGE))


@pytest.mark.parametrize("data", [two_headed(), beyond_its_screen()], ids=["PNG", "GIF"])
def test_an_image_larger_than_its_first_bytes_say_is_refused(data: bytes) -> None:
    assert checked_type(data)
    with pytest.raises(FormatError, match="7100 × 7100 pixels"):
        picture.opened(data)


def test_other_formats_are_not_tried() -> None:
    with pytest.raises(UnidentifiedImageError):
        picture.opened(saved(Image.new("L", (4, 4)), "TIFF"))
