"""Turns an image into a plain PNG, which every engine reads: `python -m hutch.engines.png`, from standard input to output.

A process of its own, because the library that unpacks images is written in C and the image comes from anywhere.
"""

import io
import sys

from hutch.engines import picture

_MAX_PIXELS = 4 << 20  # most models look at fewer, and an engine may unpack them while everybody waits


def main() -> None:
    """Convert one image."""
    image = picture.opened(sys.stdin.buffer.read()).convert("RGB")
    scale = (_MAX_PIXELS / (image.width * image.height)) ** 0.5
    if scale < 1:
        image.thumbnail((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    png = io.BytesIO()
    image.save(png, "PNG", compress_level=1)
    sys.stdout.buffer.write(png.getvalue())


if __name__ == "__main__":
    main()
