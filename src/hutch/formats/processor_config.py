"""What ONNX Runtime GenAI's processors do to images, as a folder's JSON says it: bounded before they see it."""

from pathlib import Path

from hutch.core.errors import FormatError
from hutch.formats import bounded_json
from hutch.formats.gguf_source import shown

NAME = "processor_config.json"  # where genai_config.json names no other
_MAX_BYTES = 1 << 20
_MAX_SIDE = 8192
_MAX_NUMBER = 1 << 24  # pixels of one image, such as Qwen's `max_pixels`
_SIDES = ("height", "width")


def check(path: Path, name: str) -> None:
    """Raise FormatError for what is no JSON, or would make images larger than any model looks at."""
    _check(bounded_json.read(path, name, _MAX_BYTES), name)


def _check(value: object, where: str, highest: int = _MAX_NUMBER) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _check(each, f"{where}: {shown(key)}", _MAX_SIDE if key in _SIDES else _MAX_NUMBER)
    elif isinstance(value, list):
        for each in value:
            _check(each, where, highest)
    elif isinstance(value, int | float) and abs(value) > highest:
        raise FormatError(
            f"{where} is {shown(value)}; at most {highest:,} is allowed",
            hint="The model was made wrongly, or made to do harm. Get it from another source.",
        )
