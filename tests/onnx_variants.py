"""The other shapes in which a decoder comes: made from `onnx_files.llama`, with the same weights and so the same answers."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_BLOCK = 32


def unpruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Logits for each position, as the model builder makes them without prune_lm_head."""
    graph = model.graph
    for name in ("last_state", "last_row"):
        graph.node.remove(_node(model, name))
    _node(model, "logits").input[0] = "normed"
    graph.output[0].type.tensor_type.shape.dim[1].dim_param = "sequence_length"
    return model


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Query, key and value by one product, as with fuse_qkv."""
    for attention in [node for node in model.graph.node if node.op_type == "GroupQueryAttention"]:
        parts = [_node(model, name) for name in attention.input[:3]]
        weights = [_initializer(model, part.input[1]) for part in parts]
        joined = np.concatenate([numpy_helper.to_array(weight) for weight in weights], axis=1)
        name = parts[0].output[0].removesuffix(".q") + ".qkv"
        model.graph.initializer.append(numpy_helper.from_array(joined, name + ".weight"))
        product = helper.make_node("MatMul", [parts[0].input[0], name + ".weight"], [name], name=name)
        model.graph.node.insert(list(model.graph.node).index(parts[0]), product)
        for part, weight in zip(parts, weights, strict=True):
            model.graph.node.remove(part)
            model.graph.initializer.remove(weight)
        attention.input[0], attention.input[1], attention.input[2] = name, "", ""
    return model


def with_positions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Positions as an input, which the attention turns by."""
    model.graph.input.insert(
        2, helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    )
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            node.input.append("position_ids")
    return model


def int4(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of four bits in blocks of 32, multiplied in eight bits (accuracy level 4), as for a CPU by default."""
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        weight = _initializer(model, node.input[1])
        array = numpy_helper.to_array(weight)
        rows, columns = array.shape
        assert rows % _BLOCK == 0, "blocks must be whole"
        blocks = array.T.reshape(columns, rows // _BLOCK, _BLOCK)
        scales = np.maximum(np.abs(blocks).max(axis=-1), 1e-8) / 7
        levels = (np.clip(np.rint(blocks / scales[..., None]), -8, 7) + 8).astype(np.uint8)
        packed = levels[..., 0::2] | (levels[..., 1::2] << 4)
        model.graph.initializer.remove(weight)
        names = [node.input[1] + "_Q4", node.input[1] + "_scales"]
        model.graph.initializer.append(numpy_helper.from_array(packed, names[0]))
        model.graph.initializer.append(
            numpy_helper.from_array(scales.astype(np.float32).reshape(-1), names[1])
        )
        node.op_type, node.domain = "MatMulNBits", "com.microsoft"
        del node.input[1]
        node.input.extend(names)
        sizes: dict[str, Any] = {
            "K": rows,
            "N": columns,
            "bits": 4,
            "block_size": _BLOCK,
            "accuracy_level": 4,
        }
        node.attribute.extend(helper.make_attribute(name, value) for name, value in sizes.items())
    return model


def unshared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph whose attention does not write into the cache that it is given."""
    for node in list(model.graph.node):
        if node.op_type == "GroupQueryAttention":
            for index in (1, 2):
                given = node.output[index]
                node.output[index] = given + ".kept"
                model.graph.node.append(helper.make_node("Neg", [given + ".kept"], [given], name=given))
    return model


def _node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def _initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(each for each in model.graph.initializer if each.name == name)
