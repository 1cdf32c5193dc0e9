"""4-bit blocks with a scale and a least value."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hutch.core.errors import BadInput
from hutch.optimize import affine

_WIDTH, _WORDS = 64, 96


def restored(weights: affine.Floats) -> affine.Floats:
    levels, scales, least = affine.blocks_of(weights)
    blocks: affine.Floats = levels * scales[..., None] + least[..., None]
    return blocks.reshape(weights.shape)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(9, 16))
def test_blocks_on_a_grid_of_at_most_16_levels_come_out_as_they_were(seed: int, num_levels: int) -> None:
    generator = np.random.default_rng(seed)
    levels = generator.integers(0, num_levels, (4, 2, 32))
    levels[..., :2] = (0, num_levels - 1)  # the whole grid is used
    scales = generator.uniform(1e-3, 1, (4, 2, 1)).astype(np.float32)
    weights = (levels * scales + generator.normal(size=(4, 2, 1))).astype(np.float32).reshape(4, 64)
    assert np.abs(restored(weights) - weights).max() <= 1e-5 * (1 + np.abs(weights).max())


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_number_is_off_by_more_than_half_a_step(seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(3, 64)).astype(np.float32)
    steps = np.repeat(affine.blocks_of(weights)[1], 32, axis=1)
    assert (np.abs(restored(weights) - weights) <= steps * 0.5001).all()


def test_a_block_of_one_value_stays_that_value() -> None:
    weights = np.full((1, 32), -0.75, np.float32)
    assert (restored(weights) == weights).all()


def graph(path: Path, *, is_turned: bool = False) -> affine.Floats:
    """A model of one matrix between an embedding and a head that share their table; returns the table."""
    generator = np.random.default_rng(5)
    levels = generator.integers(0, 16, (_WIDTH, _WIDTH // 32, 32))
    levels[..., :2] = (0, 15)
    inner = (levels * 0.01 - 0.06).astype(np.float32).reshape(_WIDTH, _WIDTH).T
    table = generator.normal(size=(_WORDS, _WIDTH)).astype(np.float32)
    make = onnx.helper.make_node
    lookup: list[Any] = [make("Gather", ["table", "input_ids"], ["a"], "embed")]
    if is_turned:
        lookup = [
            make("Transpose", ["head"], ["table"], "turn", perm=[1, 0]),
            make("Gather", ["table", "input_ids"], ["a"], "embed"),
        ]
    values = {"inner": inner, "head": table.T} | ({} if is_turned else {"table": table})
    made = onnx.helper.make_graph(
        [
            *lookup,
            make("MatMul", ["a", "inner"], ["b"], "inner"),
            make("MatMul", ["b", "head"], ["logits"], "head"),
        ],
        "tiny",
        [onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["n", "s"])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", "s", _WORDS])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(each), name) for name, each in values.items()],
    )
    onnx.save(
        onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10), path
    )
    return table


def run(path: Path, ids: np.ndarray[Any, Any]) -> affine.Floats:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits: affine.Floats = session.run(None, {"input_ids": ids})[0]
    return logits


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_graph_in_blocks_computes_what_the_float_graph_does(tmp_path: Path, is_turned: bool) -> None:
    graph(tmp_path / "float.onnx", is_turned=is_turned)
    progress = list(affine.quantize(tmp_path / "float.onnx", tmp_path / "model.onnx"))
    assert progress
    ids = np.arange(_WORDS, dtype=np.int64)[None]
    wanted, found = run(tmp_path / "float.onnx", ids), run(tmp_path / "model.onnx", ids)
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()
    assert (found.argmax(-1) == wanted.argmax(-1)).mean() > 0.9
    names = {each.name for each in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert not names & {"table", "head", "inner"}


@pytest.mark.parametrize("is_turned", [False, True])
def test_nodes_need_no_names(tmp_path: Path, is_turned: bool) -> None:
    graph(tmp_path / "named.onnx", is_turned=is_turned)
    list(affine.quantize(tmp_path / "named.onnx", tmp_path / "wanted.onnx"))
    model = onnx.load(tmp_path / "named.onnx")
    for node in model.graph.node:
        node.ClearField("name")
    onnx.save(model, tmp_path / "nameless.onnx")
    list(affine.quantize(tmp_path / "nameless.onnx", tmp_path / "found.onnx"))
    ids = np.arange(_WORDS, dtype=np.int64)[None]
    assert np.array_equal(run(tmp_path / "found.onnx", ids), run(tmp_path / "wanted.onnx", ids))


def test_a_graph_without_float_matrices_is_refused(tmp_path: Path) -> None:
    graph(tmp_path / "float.onnx")
    list(affine.quantize(tmp_path / "float.onnx", tmp_path / "model.onnx"))
    with pytest.raises(BadInput, match="no float matrices"):
        list(affine.quantize(tmp_path / "model.onnx", tmp_path / "again.onnx"))
