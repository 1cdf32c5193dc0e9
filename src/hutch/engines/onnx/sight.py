"""Images in a prompt: what ONNX Runtime GenAI's processor makes of them, for a model that sees."""

import base64
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx.genai import GenAIDecoder, library
from hutch.engines.onnx.providers import reason_of
from hutch.formats.image_words import ImageWords

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_PIXELS = 1 << 26  # of all images: GenAI unpacks them before anybody knows how many tokens they take
_INPUT_IDS = "input_ids"


class Seen(NamedTuple):
    """The tokens of a prompt with images, and what has a row ready for them."""

    ids: list[int]
    prepare: Callable[[int], None]


class Sight:
    """Reads prompts for one model of GenAI's. `marker` stands in them for an image, and nobody outside knows it.

    `bos`: what every prompt begins with.
    """

    def __init__(self, decoder: GenAIDecoder, words: ImageWords, bos: int | None) -> None:
        self.marker = f"<__media_{secrets.token_hex(8)}__>"
        self._decoder = decoder
        self._words = words
        self._bos = bos
        self._processor: Any = None
        self._lock = threading.Lock()  # nobody says that a processor may be called twice at once

    def see(self, prompt: str, images: Sequence[str]) -> Seen:
        """Read a prompt with as many markers as images, which are PNG in base64. Blocks.

        Raises BadInput, and EngineFailed where the model's processor cannot do it.
        """
        told = self._told(prompt, len(images))
        opened = _opened(images)
        try:
            with self._lock:
                if self._processor is None:
                    self._processor = self._decoder.model.create_multimodal_processor()
                tensors = self._processor(told, images=library().Images.open_bytes(*opened))
            ids = tensors[_INPUT_IDS].as_numpy().ravel().astype(np.int32).tolist()
        except RuntimeError as error:
            raise EngineFailed(f"the model's image processor failed: {reason_of(error)}") from error
        del tensors[_INPUT_IDS]  # they are read as any other prompt's are
        return Seen(self._begun(ids), partial(self._decoder.look, tensors=tensors))

    def _told(self, prompt: str, num_images: int) -> str:
        """The prompt in the model's own words."""
        texts = prompt.split(self.marker)
        if len(texts) - 1 != num_images:
            raise BadInput(
                f"the prompt has {len(texts) - 1} places for {num_images} images",
                hint="The model's template leaves out messages, or repeats them.",
                param="prompt",
            )
        for text in texts:
            if reserved := self._words.reserved.search(text):
                raise BadInput(
                    f"the text has {reserved[0]} in it, which stands for an image in this model",
                    hint="Write it another way.",
                    param="prompt",
                )
        places = [self._words.place.format(number) for number in range(1, num_images + 1)]
        return texts[0] + "".join(place + text for place, text in zip(places, texts[1:], strict=True))

    def _begun(self, ids: list[int]) -> list[int]:
        """With one BOS, if there is any: GenAI puts one before what a template has begun with one, or none at all."""
        if self._bos is None:
            return ids
        num = next((index for index, token in enumerate(ids) if token != self._bos), len(ids))
        return [self._bos, *ids[num:]]


def _opened(images: Sequence[str]) -> list[bytes]:
    """The bytes of PNGs. The front makes one of every image: a damaged JPEG, or any GIF, ends this process inside of GenAI."""
    opened, num_pixels = [], 0
    for index, image in enumerate(images):
        try:
            data = base64.b64decode(image, validate=True)
        except ValueError:
            data = b""
        if not data.startswith(_PNG):
            raise BadInput(f"images[{index}]: a PNG in base64 is needed", param="images")
        num_pixels += int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")
        opened.append(data)
    if num_pixels > _MAX_PIXELS:
        raise BadInput(
            f"the images have {num_pixels:,} pixels together, and {_MAX_PIXELS:,} are the most",
            hint="Send fewer, or make them smaller.",
            param="images",
        )
    return opened
