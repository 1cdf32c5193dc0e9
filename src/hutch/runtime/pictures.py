"""Images on their way to a worker: those that could harm it are refused, those that it cannot read are converted."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace

from hutch.core.chat import Image, Message
from hutch.core.errors import BadInput
from hutch.formats import images
from hutch.runtime.aside import done_aside

_WITHIN_S = 20.0
_CONVERTER = "hutch.engines.webp"


async def readable(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with images that the engine reads. Raises BadInput for one that is damaged."""
    if not any(message.images for message in messages):
        return messages
    return [
        replace(message, images=tuple([await _readable(image) for image in message.images]))
        for message in messages
    ]


async def _readable(image: Image) -> Image:
    if image.media_type == images.PNG:
        await asyncio.to_thread(images.check_inflates, base64.b64decode(image.base64))
    if image.media_type != images.WEBP:
        return image
    png = await _as_png(base64.b64decode(image.base64))
    return Image(images.PNG, base64.b64encode(png).decode())


async def _as_png(webp: bytes) -> bytes:
    png = await done_aside(_CONVERTER, webp, _WITHIN_S)
    if not png:
        raise BadInput("the WebP image is damaged", hint="Send it as PNG or JPEG.", param="images")
    return png
