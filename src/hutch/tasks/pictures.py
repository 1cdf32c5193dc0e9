"""Tasks on images that ask no chat model: each is done in a process of its own."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from hutch.core.chat import Image
from hutch.core.errors import BadInput, NotBuilt
from hutch.formats import images
from hutch.runtime.aside import done_at_once
from hutch.tasks.line import Line, in_thread

JsonDict = dict[str, Any]
Seen = Callable[[], Image]  # checks and decodes an image, for which it takes a while

MAX_SIDE = 16383  # pixels: what WebP can have
_MAX_MADE_BYTES = 32 << 20  # as many as an image may have that is sent
_WITHIN_S = 60.0
_LINE = Line(2, 4, "pictures")
_READER = "hutch.engines.ocr"
_ENHANCER = "hutch.engines.enhance"


async def text_in(seen: Seen) -> JsonDict:
    """The text in an image, and its pieces with their places. Raises NotBuilt where the extra is not installed."""
    answer = json.loads(await _made(_READER, seen))
    if "absent" in answer:
        raise NotBuilt(
            f"this server has no OCR: {answer['absent']}",
            hint="Run pip install 'hutch[ocr]' there, with Python 3.11 or 3.12.",
        )
    if "lacking" in answer:
        raise NotBuilt(
            f"this server's OCR cannot be used: {answer['lacking']}",
            hint="On Debian, run apt-get install libgl1 libglib2.0-0 there.",
        )
    return {"text": "\n".join(_rows(answer["lines"])), "lines": answer["lines"]}


async def enhanced(seen: Seen, wanted: Mapping[str, Any]) -> JsonDict:
    """The image as wanted, in base64, with its type and its size. Raises BadInput for one that would be too large."""
    limits = {"max_pixels": images.MAX_PIXELS, "max_side": MAX_SIDE, "max_bytes": _MAX_MADE_BYTES}
    line, _, data = (await _made(_ENHANCER, seen, {**wanted, **limits})).partition(b"\n")
    told = json.loads(line)
    if "fault" in told:
        raise BadInput(f"image: {told['fault']}", hint=told["hint"], param="image")
    media_type = images.checked_type(data)
    return {
        **told,
        "media_type": media_type,
        "image": (await asyncio.to_thread(base64.b64encode, data)).decode(),
    }


def _rows(lines: Sequence[JsonDict]) -> Iterator[str]:
    """The texts from top to bottom; those that stand beside each other, as words far apart do, in one row."""
    row: list[JsonDict] = []
    for line in sorted(lines, key=_middle):
        if row and _middle(line) - _middle(row[0]) > _height(row[0]) / 2:
            yield _joined(row)
            row = []
        row.append(line)
    if row:
        yield _joined(row)


def _joined(row: Sequence[JsonDict]) -> str:
    return " ".join(line["text"] for line in sorted(row, key=lambda line: line["box"][0][0]))


def _middle(line: JsonDict) -> float:
    return mean(float(y) for _, y in line["box"])


def _height(line: JsonDict) -> float:
    heights = [float(y) for _, y in line["box"]]
    return max(heights) - min(heights)


async def _made(module: str, seen: Seen, wanted: JsonDict | None = None) -> bytes:
    """What the program makes of the image, when its turn comes. Raises BadInput where it cannot, and Busy."""
    head = json.dumps(wanted).encode() + b"\n" if wanted else b""
    async with _LINE.turn():
        made = await done_at_once(module, head + await in_thread(_data, seen), _WITHIN_S)
    if made is None:
        raise BadInput(
            f"image: it is damaged, or takes longer than {_WITHIN_S:g} s",
            hint="Send it as PNG or JPEG, or make it smaller.",
            param="image",
        )
    return made


def _data(seen: Seen) -> bytes:
    image = seen()
    data = base64.b64decode(image.base64)
    if image.media_type == images.PNG:
        images.check_inflates(data)
    return data
