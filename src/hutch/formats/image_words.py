"""What stands for an image in a prompt, by ONNX Runtime GenAI's kinds of models that see. Pure."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class ImageWords(NamedTuple):
    """`place` stands where the image with the number `{}` is. What else matches `reserved` would be taken for a part of one."""

    place: str
    reserved: re.Pattern[str]


_QWEN = ImageWords(
    "<|vision_start|><|image_pad|><|vision_end|>",
    re.compile(r"<\|(?:vision_start|vision_end|image_pad|video_pad)\|>"),
)
_PHI = re.compile(r"<\|(?:image_\d+|audio_\d+|endoftext1[01])\|>")
WORDS: Mapping[str, ImageWords] = MappingProxyType(
    {
        "fara": _QWEN,
        "gemma3": ImageWords(
            "<start_of_image>", re.compile(r"<(?:start_of_image|image_soft_token|end_of_image)>")
        ),
        "gemma4": ImageWords("<|image|>", re.compile(r"<(?:\|(?:image|audio)\|?|(?:image|audio)\|)>")),
        "mistral3": ImageWords("[IMG]", re.compile(r"\[IMG(?:_BREAK|_END)?\]")),
        "phi3v": ImageWords("<|image_{}|>\n", _PHI),
        "phi4mm": ImageWords("<|image_{}|>\n", _PHI),
        "qwen2_5_vl": _QWEN,
        "qwen3_5": _QWEN,
        "qwen3_5_moe": _QWEN,
        "qwen3_vl": _QWEN,
    }
)
