"""A pruned graph that was changed gives the logits after each token, and says after the last one what it said before."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hutch.formats.onnx_unpruned import unpruned
from tests import onnx_files, onnx_variants

Floats = NDArray[np.float32]
SHAPE = onnx_files.Shape(layers=2, context=64)
FOLDER = "session.model_external_initializers_file_folder_path"


def with_cast(model: onnx.ModelProto) -> onnx.ModelProto:
    """The logits by way of half precision, as where a graph computes in it."""
    head = model.graph.node[-1]
    head.output[0] = "half_logits"
    model.graph.node.append(helper.make_node("Cast", ["half_logits"], ["logits"], to=TensorProto.FLOAT))
    value = helper.make_tensor_value_info("half_logits", TensorProto.FLOAT, ["batch_size", 1, SHAPE.vocab])
    model.graph.value_info.append(value)
    return model


def logits(source: str | bytes, folder: Path, ids: list[int]) -> Floats:
    """What the graph says of a text."""
    options = ort.SessionOptions()
    if isinstance(source, bytes):
        options.add_session_config_entry(FOLDER, str(folder))
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    empty = np.zeros((1, SHAPE.kv_heads, 0, SHAPE.head_size), np.float32)
    past = {each.name: empty for each in session.get_inputs() if each.name.startswith("past")}
    fed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64), **past}
    found: Floats = session.run(["logits"], fed)[0][0]
    return found


@pytest.mark.parametrize("change", [None, with_cast])
@pytest.mark.parametrize("external", [True, False])
def test_logits_come_for_each_token(tmp_path: Path, external: bool, change: object) -> None:
    model = onnx_files.llama(SHAPE)
    model = with_cast(model) if change else model
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=external, location="model.onnx.data", size_threshold=0)
    changed = unpruned(path, "logits", SHAPE.vocab)
    assert changed is not None
    ids = [3, 9, 27, 81, 11]
    found = logits(changed, tmp_path, ids)
    assert found.shape == (5, SHAPE.vocab)
    for num in range(1, 6):
        assert np.allclose(found[num - 1], logits(str(path), tmp_path, ids[:num])[0], atol=1e-4), num


def test_a_graph_that_is_not_pruned_so_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx_variants.unpruned(onnx_files.llama(SHAPE)), path)
    assert unpruned(path, "logits", SHAPE.vocab) is None
    assert unpruned(path, "no such output", SHAPE.vocab) is None
