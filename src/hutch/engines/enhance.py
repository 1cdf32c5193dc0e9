"""Makes an image larger or smaller, quieter, sharper or richer in contrast: `python -m hutch.engines.enhance`.

A process of its own, because the library that unpacks images is written in C and the image comes from anywhere. It reads a line
of JSON and the image from standard input, and writes a line of JSON and the new image to standard output.
"""

import importlib
import io
import json
import sys
from typing import Any

from hutch.engines import picture

_WINDOW = 3  # pixels: what a median filter looks at; more of them take edges along
_SHARP = {"radius": 2, "percent": 120, "threshold": 2}  # of the unsharp mask
_CUT = 1  # per cent at either end that contrast does not count


def main() -> None:
    """Enhance one image."""
    wanted = json.loads(sys.stdin.buffer.readline())
    image = picture.opened(sys.stdin.buffer.read())
    size = _size(image.size, wanted)
    max_pixels, max_side, max_bytes = wanted["max_pixels"], wanted["max_side"], wanted["max_bytes"]
    if size[0] * size[1] > max_pixels or max(size) > max_side:
        most = f"{max_side:,} a side and {max_pixels:,} in all are the most"
        _refuse(
            f"the new image would have {size[0]} × {size[1]} pixels, and {most}", "Ask for a smaller one."
        )
        return
    if image.mode == "RGBA" and wanted["format"] == "png":
        made = _enhanced(image.convert("RGB"), size, wanted)
        # what is not to be seen has no noise, no edges and no contrast
        made.putalpha(image.getchannel("A").resize(size))
    else:
        made = _enhanced(picture.on_white(image), size, wanted)
    data = io.BytesIO()
    made.save(data, wanted["format"].upper())
    if data.tell() > max_bytes:
        most = f"{max_bytes:,} are the most"
        _refuse(f"the new image has {data.tell():,} bytes, and {most}", "Ask for jpeg, or for a smaller one.")
        return
    _tell({"width": size[0], "height": size[1]}, data.getvalue())


def _size(size: tuple[int, int], wanted: dict[str, Any]) -> tuple[int, int]:
    """The new size in pixels: by a factor, or by one side or both."""
    width, height = wanted["width"], wanted["height"]
    factors = [new / old for new, old in zip((width, height), size, strict=True) if new]
    factor = factors[0] if factors else wanted["scale"] or 1.0
    return width or max(1, round(size[0] * factor)), height or max(1, round(size[1] * factor))


def _enhanced(image: Any, size: tuple[int, int], wanted: dict[str, Any]) -> Any:
    """Noise first, for all that comes after would strengthen it."""
    filters = importlib.import_module("PIL.ImageFilter")
    if wanted["denoise"]:
        image = image.filter(filters.MedianFilter(_WINDOW))
    if size != image.size:
        image = image.resize(size, importlib.import_module("PIL.Image").Resampling.LANCZOS)
    if wanted["contrast"]:
        operations = importlib.import_module("PIL.ImageOps")
        image = operations.autocontrast(image, cutoff=_CUT, preserve_tone=True)
    if wanted["sharpen"]:
        image = image.filter(filters.UnsharpMask(**_SHARP))
    return image


def _refuse(fault: str, hint: str) -> None:
    _tell({"fault": fault, "hint": hint}, b"")


def _tell(head: dict[str, Any], data: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + data)


if __name__ == "__main__":
    main()
