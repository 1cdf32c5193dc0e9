"""Turns a WebP image into a PNG, which engines read: `python -m hutch.engines.webp`, from standard input to output.

A process of its own, because the library that unpacks WebP is written in C and the image comes from anywhere.
"""

import importlib
import io
import sys


def main() -> None:
    """Convert one image."""
    library = importlib.import_module("PIL.Image")
    image = library.open(io.BytesIO(sys.stdin.buffer.read()), formats=("WEBP",))
    png = io.BytesIO()
    image.convert("RGB").save(png, "PNG", compress_level=1)
    sys.stdout.buffer.write(png.getvalue())


if __name__ == "__main__":
    main()
