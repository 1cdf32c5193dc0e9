"""A graph that is written, read by those for whom it is: the package `onnx`, and Hutch's own reader."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from hutch.formats import onnx as reader
from hutch.formats import protobuf_writer
from hutch.formats.onnx_writer import INT32, MICROSOFT, NewGraph

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def graph() -> NewGraph:
    made = NewGraph()
    made.node("Cast", ["ids"], ["ids_32"], to=INT32)
    made.node(
        "EmbedLayerNormalization",
        ["ids_32", made.weight("table", WEIGHT)],
        ["out", ""],
        MICROSOFT,
        epsilon=1e-12,
    )
    return made


def test_the_package_onnx_reads_what_was_meant() -> None:
    model = onnx.load_from_string(graph().model(["ids"], "out", 3, with_weights=True))
    assert {each.domain: each.version for each in model.opset_import} == {"": 17, MICROSOFT: 1}
    cast, embed = model.graph.node
    assert (cast.op_type, cast.domain, cast.attribute[0].i) == ("Cast", "", onnx.TensorProto.INT32)
    assert (embed.op_type, embed.domain, list(embed.output)) == (
        "EmbedLayerNormalization",
        MICROSOFT,
        ["out", ""],
    )
    assert onnx.helper.get_attribute_value(embed.attribute[0]) == pytest.approx(1e-12)
    (table,) = model.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(table), WEIGHT)
    (put,), (out,) = model.graph.input, model.graph.output
    assert [each.dim_param for each in put.type.tensor_type.shape.dim] == ["batch", "sequence"]
    assert out.type.tensor_type.shape.dim[2].dim_value == 3
    assert (put.type.tensor_type.elem_type, out.type.tensor_type.elem_type) == (7, 1)


def test_weights_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(graph().model(["ids"], "out", 3, with_weights=False))
    found = reader.read(tmp_path / "x.onnx")
    assert found.locations == {"memory"}
    assert found.tensors[0].shape == (2, 3)


@given(st.integers(0, (1 << 63) - 1), st.integers(1, 1 << 20))
def test_numbers_are_written_as_protobuf_reads_them(value: int, size: int) -> None:
    said = onnx.TensorProto.FromString(protobuf_writer.number(1, value) + protobuf_writer.number(1, size))
    assert list(said.dims) == [value, size]
