"""The picture of a search as PNG, drawn by Pillow."""

import io
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import hypot

from PIL import Image, ImageDraw, ImageFont

from hutch.optimize.picture import HEIGHT, WIDTH, Circle, Line, Point, Shape, Text

_SCALE = 2  # pixels for each of the picture's, so that letters are clear
_DASH, _GAP = 5, 4
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(shapes: Iterable[Shape]) -> bytes:
    """The bytes of the file."""
    image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), "#ffffff")
    for shape in shapes:
        _draw(image, shape)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _draw(image: Image.Image, shape: Shape) -> None:
    pen = ImageDraw.Draw(image)
    if isinstance(shape, Line):
        for start, end in _dashes(shape) if shape.is_dashed else pairwise(shape.points):
            pen.line((*_scaled(start), *_scaled(end)), fill=shape.colour, width=_SCALE)
    elif isinstance(shape, Circle):
        fill = None if shape.fill == "none" else shape.fill
        radius = shape.radius * _SCALE
        pen.circle(_scaled(shape.centre), radius, fill=fill, outline=shape.colour, width=2 * _SCALE)
    else:
        _write(image, shape)


def _write(image: Image.Image, text: Text) -> None:
    font = ImageFont.load_default(text.size * _SCALE)
    x, y = _scaled(text.at)
    if not text.is_upright:
        pen = ImageDraw.Draw(image)
        pen.text((x, y), text.words, fill=text.colour, font=font, anchor=_ANCHORS[text.anchor])
        return
    size = (round(font.getlength(text.words)), text.size * _SCALE * 2)
    label = Image.new("RGB", size, "#ffffff")
    ImageDraw.Draw(label).text((0, size[1] * 3 // 4), text.words, fill=text.colour, font=font, anchor="ls")
    turned = label.rotate(90, expand=True)
    image.paste(turned, (round(x) - turned.width * 3 // 4, round(y) - turned.height // 2))


def _dashes(line: Line) -> Iterator[tuple[Point, Point]]:
    for (x, y), (end_x, end_y) in pairwise(line.points):
        length = hypot(end_x - x, end_y - y)
        for start in range(0, int(length), _DASH + _GAP):
            share, until = start / length, min(start + _DASH, length) / length
            yield (
                (x + (end_x - x) * share, y + (end_y - y) * share),
                (x + (end_x - x) * until, y + (end_y - y) * until),
            )


def _scaled(point: Point) -> Point:
    return point[0] * _SCALE, point[1] * _SCALE
