"""An image from anywhere, opened with care and made plain: upright, with eight bits a channel."""

import importlib
import io
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats.images import MAX_PIXELS

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")


def opened(data: bytes) -> Any:
    """The image as RGB or, where something of it may be transparent, RGBA. Raises FormatError where it has too many pixels."""
    image = importlib.import_module("PIL.Image").open(io.BytesIO(data), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:  # a second header may say more than the first did
        raise FormatError(f"the image has {image.width} × {image.height} pixels")
    image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
    if image.mode == "I;16":  # which `convert` would cut off at 255
        image.info.pop("transparency", None)  # one shade of 65,536, that eight bits cannot tell from others
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def on_white(image: Any) -> Any:
    """What `opened` gave, as RGB: as it looks on white paper."""
    if image.mode == "RGB":
        return image
    paper = importlib.import_module("PIL.Image").new("RGB", image.size, "white")
    paper.paste(image, mask=image)
    return paper
