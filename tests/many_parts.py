"""A tiny model of three graphs in ONNX Runtime GenAI's layout: images, embeddings and decoder, as Gemma 3 has them.

The weights are random. GenAI runs its text; what images need more is a processor of its own, which no folder made here has.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import plain_decoder

_OPSET = {"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 9}


def write(folder: Path, vocab_size: int = plain_decoder.VOCAB_SIZE) -> Path:
    """Write the folder: the decoder of `plain_decoder`, with its table of embeddings in a graph apart."""
    plain_decoder.write(folder, vocab_size)
    whole = onnx.load(folder / "model.onnx")
    table = next(each for each in whole.graph.initializer if each.name == "embedding")
    onnx.save(_embedding(table), folder / "embedding.onnx")
    onnx.save(_vision(), folder / "vision.onnx")
    whole.graph.node.remove(next(each for each in whole.graph.node if each.output[0] == "x"))
    whole.graph.initializer.remove(table)
    for node in whole.graph.node:
        node.input[:] = ["inputs_embeds" if name == "x" else name for name in node.input]
    whole.graph.input.remove(whole.graph.input[0])
    whole.graph.input.insert(0, _value("inputs_embeds", ["batch", "length", plain_decoder.WIDTH]))
    onnx.save(whole, folder / "model.onnx")
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["type"] = "gemma3"
    config["model"]["decoder"]["inputs"].pop("input_ids")
    config["model"]["decoder"]["inputs"]["inputs_embeds"] = "inputs_embeds"
    config["model"]["embedding"] = {
        "filename": "embedding.onnx",
        "inputs": {"input_ids": "input_ids", "image_features": "image_features"},
        "outputs": {"inputs_embeds": "inputs_embeds"},
    }
    config["model"]["vision"] = {
        "filename": "vision.onnx",
        "config_filename": "processor_config.json",
        "inputs": {"pixel_values": "pixel_values"},
        "outputs": {"image_features": "image_features"},
    }
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "processor_config.json").write_text("{}")
    return folder


def _embedding(table: onnx.TensorProto) -> onnx.ModelProto:
    """Rows of the table; features of images are taken, and added as nothing."""
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["x"]),
        helper.make_node("ReduceSum", ["image_features"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["inputs_embeds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embedding",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]),
            _value("image_features", ["images", plain_decoder.WIDTH]),
        ],
        [_value("inputs_embeds", ["batch", "length", plain_decoder.WIDTH])],
        [table, numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    return helper.make_model(graph, **_OPSET)


def _vision() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixel_values"], ["image_features"])],
        "vision",
        [_value("pixel_values", ["images", plain_decoder.WIDTH])],
        [_value("image_features", ["images", plain_decoder.WIDTH])],
    )
    return helper.make_model(graph, **_OPSET)


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
