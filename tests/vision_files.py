"""A tiny model that sees, in ONNX Runtime GenAI's layout for Gemma 3: a vision, an embedding and a decoder graph.

What it sees of an image is its mean colour, which is added up into each of the image's 256 tokens: images of other colours are
followed by other texts.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from tests import onnx_files

NUM_IMAGE_TOKENS = 256  # that GenAI's processor puts into the prompt for each image of a gemma3
PLACEHOLDER = "<start_of_image>"
_SOFT = "<image_soft_token>"
_SPECIAL = (PLACEHOLDER, _SOFT, "<end_of_image>")
_SIZE = 28  # pixels, to which each image is resized
_F, _I = TensorProto.FLOAT, TensorProto.INT64
_PROCESSOR: tuple[tuple[str, dict[str, Any]], ...] = (
    ("DecodeImage", {"color_space": "RGB"}),
    ("Resize", {"height": _SIZE, "width": _SIZE, "interpolation": "LINEAR", "keep_aspect_ratio": 0}),
    ("Rescale", {"rescale_factor": 1 / 255}),
    ("Normalize", {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}),
    ("Permute3D", {"dims": [2, 0, 1]}),
)


def tokenizer() -> Tokenizer:
    """The tokenizer of the other small models, with the tokens for images."""
    made = Tokenizer.from_str(onnx_files.byte_tokenizer().to_str())
    made.add_special_tokens(list(_SPECIAL))
    return made


def write(
    folder: Path, *, context: int = 2048, shares_buffer: bool = True, template: str = onnx_files.CHATML
) -> Path:
    """Write the folder. `shares_buffer`: whether what was read and what is added lie in one cache."""
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer()
    shape = onnx_files.Shape(context=context, words=words.get_vocab_size())
    decoder = onnx_files.llama(shape)
    table = cut_embedding(decoder, shape.hidden)
    onnx.save(decoder, folder / "model.onnx")
    onnx.save(embedding(table, words.encode(_SOFT).ids[0]), folder / "embedding.onnx")
    onnx.save(_vision(shape.hidden), folder / "vision.onnx")
    config = onnx_files.genai_config(shape, type="gemma3", **_parts())
    config["search"]["past_present_share_buffer"] = shares_buffer
    inputs = config["model"]["decoder"]["inputs"]
    inputs["inputs_embeds"] = "inputs_embeds"
    del inputs["input_ids"]
    (folder / "genai_config.json").write_text(json.dumps(config, indent=1))
    (folder / "processor_config.json").write_text(json.dumps(processor(_PROCESSOR)))
    onnx_files.write_tokenizer(folder, template)
    words.save(str(folder / "tokenizer.json"))
    return folder


def write_blind(folder: Path) -> Path:
    """The same decoder in one graph with its table, which sees nothing."""
    words = tokenizer()
    onnx_files.write_llama(folder, onnx_files.Shape(context=2048, words=words.get_vocab_size()))
    words.save(str(folder / "tokenizer.json"))
    return folder


def processor(steps: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """What `processor_config.json` says of these steps."""
    operations = [{"operation": {"name": kind, "type": kind, "attrs": attrs}} for kind, attrs in steps]
    return {"processor": {"name": "images", "transforms": operations}}


def _parts() -> dict[str, Any]:
    return {
        "vision": {
            "filename": "vision.onnx",
            "config_filename": "processor_config.json",
            "inputs": {"pixel_values": "pixel_values"},
            "outputs": {"image_features": "image_features"},
        },
        "embedding": {
            "filename": "embedding.onnx",
            "inputs": {"input_ids": "input_ids", "image_features": "image_features"},
            "outputs": {"inputs_embeds": "inputs_embeds"},
        },
    }


def cut_embedding(model: onnx.ModelProto, hidden: int) -> onnx.TensorProto:
    """Have a llama read embeddings instead of tokens. Returns the table that they come from."""
    graph = model.graph
    embed = next(node for node in graph.node if node.output[0] == "embedded")
    graph.node.remove(embed)
    for node in graph.node:
        node.input[:] = ["inputs_embeds" if name == "embedded" else name for name in node.input]
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info("inputs_embeds", _F, ["batch_size", "sequence_length", hidden])
    )
    table: onnx.TensorProto = next(each for each in graph.initializer if each.name == embed.input[0])
    graph.initializer.remove(table)
    return table


def _vision(hidden: int) -> onnx.ModelProto:
    draw = np.random.default_rng(11)
    tensors = [
        numpy_helper.from_array(draw.normal(0, 2, (3, hidden)).astype(np.float32), "colours"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "sides"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array([1, NUM_IMAGE_TOKENS, 1], np.int64), "tokens"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values", "sides"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "colours"], ["seen"]),
        helper.make_node("Unsqueeze", ["seen", "axis"], ["row"]),
        helper.make_node("Expand", ["row", "tokens"], ["image_features"]),
    ]
    pixels = helper.make_tensor_value_info("pixel_values", _F, ["images", 3, _SIZE, _SIZE])
    features = helper.make_tensor_value_info("image_features", _F, ["images", NUM_IMAGE_TOKENS, hidden])
    return model("vision", nodes, [pixels], [features], tensors)


def embedding(table: onnx.TensorProto, image_token: int) -> onnx.ModelProto:
    """Each token's row of the table, and in the places of image tokens what was seen."""
    hidden = table.dims[1]
    tensors = [
        table,
        numpy_helper.from_array(np.array(image_token, np.int64), "image_token"),
        numpy_helper.from_array(np.array(0, np.int64), "zero"),
        numpy_helper.from_array(np.array([-1, hidden], np.int64), "rows"),
    ]
    nodes = [
        helper.make_node(
            "Max", ["input_ids", "zero"], ["known"]
        ),  # some kinds of image tokens are below zero
        helper.make_node("Gather", [table.name, "known"], ["embedded"]),
        helper.make_node("Equal", ["input_ids", "image_token"], ["is_image"]),
        helper.make_node("NonZero", ["is_image"], ["places"]),
        helper.make_node("Transpose", ["places"], ["indices"]),
        helper.make_node("Reshape", ["image_features", "rows"], ["features"]),
        helper.make_node("ScatterND", ["embedded", "indices", "features"], ["inputs_embeds"]),
    ]
    ids = helper.make_tensor_value_info("input_ids", _I, ["batch", "length"])
    features = helper.make_tensor_value_info("image_features", _F, None)  # of rank 2 where there is no image
    embeds = helper.make_tensor_value_info("inputs_embeds", _F, ["batch", "length", hidden])
    return model("embedding", nodes, [ids, features], [embeds], tensors)


def model(name: str, nodes: Any, inputs: Any, outputs: Any, tensors: Any) -> onnx.ModelProto:
    """A graph as a model."""
    graph = helper.make_graph(nodes, name, inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
