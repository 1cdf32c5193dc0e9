"""Images on their way to a worker: those that could harm it are refused, those that it cannot read are converted."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from hutch.core.chat import Image, Message
from hutch.core.errors import BadInput
from hutch.formats import images
from hutch.runtime.aside import done_aside

_WITHIN_S = 20.0
_CONVERTER = "hutch.engines.png"
# ONNX Runtime GenAI ends its process over a damaged JPEG, and takes whatever is no PNG for one.
_READ_BY = {"llama.cpp": (images.PNG, images.JPEG, images.GIF, images.BMP), "onnx": ()}


async def readable(messages: Sequence[Message], engine: str) -> Sequence[Message]:
    """The messages with images that the engine reads. Raises BadInput for one that is damaged, which it counts out."""
    if not any(message.images for message in messages):
        return messages
    numbers = count(1)
    return [
        replace(
            message,
            images=tuple([await _readable(image, engine, next(numbers)) for image in message.images]),
        )
        for message in messages
    ]


async def _readable(image: Image, engine: str, number: int) -> Image:
    if image.media_type not in _READ_BY[engine]:
        png = await _as_png(base64.b64decode(image.base64), number)
        return Image(images.PNG, base64.b64encode(png).decode())
    if image.media_type == images.PNG:
        await asyncio.to_thread(images.check_inflates, base64.b64decode(image.base64))
    return image


async def _as_png(data: bytes, number: int) -> bytes:
    png = await done_aside(_CONVERTER, data, _WITHIN_S)
    if not png:
        raise BadInput(f"image {number} is damaged", hint="Send it anew as PNG or JPEG.", param="images")
    return png
