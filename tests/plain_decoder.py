"""A tiny decoder in ONNX Runtime GenAI's layout that is not of the kind that Hutch's own runner takes.

Its cache grows by Concat and it has no GroupQueryAttention. One layer with one head: what comes next depends on every token
before it, so a cache that was kept or taken back wrongly shows.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCAB_SIZE, WIDTH = 64, 8


def write(folder: Path, **changes: object) -> Path:
    """Write the folder; `changes` are keys of the model in its genai_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model(), folder / "model.onnx")
    decoder = {
        "session_options": {"provider_options": []},
        "filename": "model.onnx",
        "head_size": WIDTH,
        "hidden_size": WIDTH,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
    }
    said = {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "context_length": 256,
        "decoder": decoder,
        "type": "llama",
        "vocab_size": VOCAB_SIZE,
    }
    config = {"model": said | changes, "search": {"max_length": 256, "past_present_share_buffer": False}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    return folder


def model() -> onnx.ModelProto:
    """Embed, look back over all that came with softmax attention, add, and make logits."""
    rng = np.random.default_rng(7)
    weights = {
        "embedding": rng.normal(size=(VOCAB_SIZE, WIDTH)),
        "to_key": rng.normal(size=(WIDTH, WIDTH)),
        "to_value": rng.normal(size=(WIDTH, WIDTH)),
        "head": rng.normal(size=(WIDTH, VOCAB_SIZE)),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["x"]),
        helper.make_node("MatMul", ["x", "to_key"], ["k"]),
        helper.make_node("MatMul", ["x", "to_value"], ["v"]),
        helper.make_node("Unsqueeze", ["k", "axis"], ["k4"]),
        helper.make_node("Unsqueeze", ["v", "axis"], ["v4"]),
        helper.make_node("Concat", ["past_key_values.0.key", "k4"], ["present.0.key"], axis=2),
        helper.make_node("Concat", ["past_key_values.0.value", "v4"], ["present.0.value"], axis=2),
        helper.make_node("Unsqueeze", ["x", "axis"], ["q4"]),
        helper.make_node("Transpose", ["present.0.key"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q4", "kt"], ["scores"]),
        # Causal: the last of a chunk's tokens is the only one whose logits anybody asks for, and it sees all.
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "present.0.value"], ["seen4"]),
        helper.make_node("Squeeze", ["seen4", "axis"], ["seen"]),
        helper.make_node("Add", ["x", "seen"], ["y"]),
        helper.make_node("MatMul", ["y", "head"], ["all_logits"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["mask"], ["one"], keepdims=0),
        helper.make_node("Mul", ["all_logits", "one"], ["logits"]),
    ]
    cache = ["batch", 1, "past", WIDTH]
    graph = helper.make_graph(
        nodes,
        "plain",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total"]),
            helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT, cache),
            helper.make_tensor_value_info("past_key_values.0.value", TensorProto.FLOAT, cache),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", VOCAB_SIZE]),
            helper.make_tensor_value_info("present.0.key", TensorProto.FLOAT, ["batch", 1, "total", WIDTH]),
            helper.make_tensor_value_info("present.0.value", TensorProto.FLOAT, ["batch", 1, "total", WIDTH]),
        ],
        [
            *(numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
