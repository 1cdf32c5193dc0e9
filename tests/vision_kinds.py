"""The tiny model that sees as other kinds of models have it, for ONNX Runtime GenAI's processors of these kinds.

It sees how bright an image is, of which it knows only one size: a square of `SIDE` pixels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import onnx_files, vision_files

SIDE = 28
_F, _I = TensorProto.FLOAT, TensorProto.INT64
CONTEXT = 3072
_RESIZED = ("Resize", {"smart_resize": 1, "patch_size": 14, "merge_size": 2, "height": 56, "width": 56})
_RESIZED[1].update(min_pixels=56 * 56, max_pixels=56 * 56)
_DECODED = ("DecodeImage", {"color_space": "RGB"})
_RESCALED = ("Rescale", {"rescale_factor": 1 / 255})
_COLOURS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
_FIRST = ("Permute3D", {"dims": [2, 0, 1]})


@dataclass(frozen=True)
class Kind:
    """`special`: the tokens for images, of which the first one is there `num_tokens` times; a phi3v has negative numbers instead."""

    num_tokens: int
    special: tuple[str, ...]
    steps: tuple[tuple[str, dict[str, Any]], ...]
    inputs: Mapping[str, tuple[int, list[str | int]]]
    vision: Mapping[str, int] = field(default_factory=dict)


KINDS = {
    "phi3v": Kind(
        2509,
        (),
        (_DECODED, ("Phi3ImageTransform", {"num_crops": 16, "num_img_tokens": 144})),
        {"pixel_values": (_F, ["n", "crops", 3, 336, 336]), "image_sizes": (_I, ["n", 2])},
    ),
    "mistral3": Kind(
        4,
        ("[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]"),
        (_DECODED, _RESIZED, _RESCALED, ("Normalize", _COLOURS), _FIRST, ("PixtralImageSizes", {})),
        {"pixel_values": (_F, ["n", 3, "height", "width"])},
        {"spatial_merge_size": 2, "patch_size": 14},
    ),
    "qwen2_5_vl": Kind(
        4,
        ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>"),
        (
            *(_DECODED, _RESIZED, _RESCALED, ("Normalize", {**_COLOURS, "qwen2_5_vl": 1})),
            ("PatchImage", {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}),
        ),
        {"pixel_values": (_F, ["patches", "numbers"]), "image_grid_thw": (_I, ["n", 3])},
        {"spatial_merge_size": 2},
    ),
}


def write(folder: Path, name: str) -> int:
    """Write a folder of this kind. Returns the size of its vocabulary."""
    kind = KINDS[name]
    vision_files.write(folder, context=CONTEXT)
    words = vision_files.tokenizer()
    words.add_special_tokens(list(kind.special))
    words.save(str(folder / "tokenizer.json"))
    shape = onnx_files.Shape(context=CONTEXT, words=words.get_vocab_size())
    decoder = onnx_files.llama(shape)
    table = vision_files.cut_embedding(decoder, shape.hidden)
    if name == "qwen2_5_vl":
        decoder.graph.input.append(helper.make_tensor_value_info("position_ids", _I, [3, "b", "l"]))
    onnx.save(decoder, folder / "model.onnx")
    token = words.token_to_id(kind.special[0]) if kind.special else -1
    onnx.save(vision_files.embedding(table, token or 0), folder / "embedding.onnx")
    onnx.save(_vision(shape.hidden, kind), folder / "vision.onnx")
    config = json.loads((folder / "genai_config.json").read_text())
    model = config["model"]
    model |= {"type": name, "vocab_size": shape.vocab}
    model["vision"] |= {"inputs": {each: each for each in kind.inputs}, **kind.vision}
    if name == "qwen2_5_vl":
        model["decoder"]["inputs"]["position_ids"] = "position_ids"
        model |= {"image_token_id": token, "vision_start_token_id": words.token_to_id(kind.special[1])}
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "processor_config.json").write_text(json.dumps(vision_files.processor(kind.steps)))
    return shape.vocab


def _vision(hidden: int, kind: Kind) -> onnx.ModelProto:
    weights = np.random.default_rng(1).normal(0, 2, (1, hidden)).astype(np.float32)
    tensors = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "one"),
        numpy_helper.from_array(np.array([kind.num_tokens, 1], np.int64), "tokens"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "one"], ["brightness"]),
        helper.make_node("MatMul", ["brightness", "weights"], ["row"]),
        helper.make_node("Expand", ["row", "tokens"], ["image_features"]),
    ]
    inputs = [helper.make_tensor_value_info(name, *each) for name, each in kind.inputs.items()]
    features = helper.make_tensor_value_info("image_features", _F, ["tokens", hidden])
    return vision_files.model("vision", nodes, inputs, [features], tensors)
