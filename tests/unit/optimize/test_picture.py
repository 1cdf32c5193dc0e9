"""The picture of a search."""

import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from PIL import Image, ImageColor

from hutch.optimize import picture
from hutch.optimize.choice import Outcome
from hutch.optimize.gate import Gate
from hutch.optimize.picture_png import png
from tests.unit.optimize.test_choice import CLOSE, SLOW, SOURCE, WILD

_SVG = "{http://www.w3.org/2000/svg}"


def texts(drawn: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(drawn).iter(f"{_SVG}text")]


def test_every_candidate_with_figures_is_drawn_inside_the_picture() -> None:
    drawn = picture.svg("a <model> & more", [SOURCE, CLOSE, WILD, SLOW], Gate(), CLOSE)
    said = texts(drawn)
    assert {"source", "close (chosen)", "wild (fails)", "slow", "gate: 0.15"} <= set(said)
    assert said[0] == "a <model> & more"
    _, _, width, height = map(float, ET.fromstring(drawn).attrib["viewBox"].split())
    circles = list(ET.fromstring(drawn).iter(f"{_SVG}circle"))
    assert len(circles) == 5
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height


@pytest.mark.parametrize("outcomes", [[], [Outcome("x", "onnx", problem="it failed")]])
def test_a_search_without_figures_has_a_picture_too(outcomes: list[Outcome]) -> None:
    assert "gate: 0.15" in texts(picture.svg("m", outcomes, Gate(), None))


def test_what_is_faster_lies_further_right_and_what_is_closer_lower() -> None:
    drawn = picture.svg("m", [replace(SLOW, name="slow"), CLOSE], Gate(), None)
    slow, close = ET.fromstring(drawn).iter(f"{_SVG}circle")
    assert float(slow.attrib["cx"]) < float(close.attrib["cx"])
    assert float(slow.attrib["cy"]) < float(close.attrib["cy"])


def test_the_same_picture_comes_as_png() -> None:
    shown = picture.shapes("a <model> & more", [SOURCE, CLOSE, WILD, SLOW], Gate(), CLOSE)
    image = Image.open(io.BytesIO(png(shown)))
    assert image.format == "PNG"
    assert image.size == (2 * picture.WIDTH, 2 * picture.HEIGHT)
    for shape in shown:
        if isinstance(shape, picture.Circle) and shape.fill.startswith("#"):
            x, y = shape.centre
            assert image.getpixel((round(2 * x), round(2 * y))) == ImageColor.getrgb(shape.fill)
    red = ImageColor.getrgb("#cf222e")
    assert any(colour == red for _, colour in image.getcolors(1 << 16) or ())


def test_a_png_of_nothing_can_be_drawn() -> None:
    assert png(picture.shapes("m", [], Gate(), None)).startswith(b"\x89PNG")
