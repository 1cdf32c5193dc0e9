"""ONNX files: read as the onnx package reads them, and refused where they are hostile, soon and with a reason."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx as library
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hutch.core.errors import FormatError
from hutch.formats import onnx, onnx_tensor, protobuf
from tests.onnx_files import Shape, llama

MAX_SECONDS = 1.0
SMALL = llama(Shape(layers=1, hidden=16, heads=2, kv_heads=1, inner=16, context=8))


def varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def model(graph: bytes, more: bytes = b"") -> bytes:
    return number(1, 10) + part(7, graph) + more


NODE = part(1, part(1, b"x") + part(2, b"y") + part(4, b"Relu"))
OUTPUT = part(12, part(1, b"y"))
GOOD = model(NODE + OUTPUT)


def tensor(name: bytes = b"w", dims: tuple[int, ...] = (2, 3), kind: int = 1, more: bytes = b"") -> bytes:
    return b"".join(number(1, dim) for dim in dims) + number(2, kind) + part(8, name) + more


def entry(key: bytes, value: bytes) -> bytes:
    return part(13, part(1, key) + part(2, value))


def external(location: bytes = b"w.bin", offset: bytes = b"0", length: bytes = b"24") -> bytes:
    places = entry(b"location", location) + entry(b"offset", offset) + entry(b"length", length)
    return part(5, tensor(more=places + number(14, 1)))


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], onnx.ONNX]:
    """Read a file made of these bytes, within the time that a hostile one may take."""

    def read_bytes(data: bytes) -> onnx.ONNX:
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        started = time.process_time()
        try:
            return onnx.read(path)
        finally:
            assert time.process_time() - started < MAX_SECONDS

    return read_bytes


def test_a_llama_is_read_as_the_onnx_package_reads_it(read: Callable[[bytes], onnx.ONNX]) -> None:
    found = read(SMALL.SerializeToString())
    assert found.ir_version == 10
    assert found.opsets == {"": 21, "com.microsoft": 1}
    assert list(found.inputs) == [each.name for each in SMALL.graph.input]
    assert list(found.outputs) == [each.name for each in SMALL.graph.output]
    assert found.inputs["past_key_values.0.key"].shape == ("batch_size", 1, "past_sequence_length", 16)
    assert found.inputs["input_ids"].type_name == "int64"
    assert [each.type_name for each in found.operators] == [each.op_type for each in SMALL.graph.node]
    constants = {each.name: each for each in found.tensors}
    assert constants["lm_head.weight"].shape == (16, Shape().vocab)
    attention = next(each for each in found.operators if each.type_name == "GroupQueryAttention")
    assert attention.domain == "com.microsoft"
    assert attention.integers == {"num_heads": 2, "kv_num_heads": 1, "do_rotary": 1, "rotary_interleaved": 0}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_the_onnx_package_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
    kinds = st.sampled_from([np.float32, np.float16, np.int64, np.uint8, np.bool_])
    shapes = st.lists(st.integers(0, 4), max_size=4)
    tensors = [
        numpy_helper.from_array(np.zeros(data.draw(shapes), data.draw(kinds)), name)
        for name in data.draw(st.lists(names, max_size=5, unique=True))
    ]
    sides = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    values = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, data.draw(st.lists(st.one_of(st.integers(-1, 9), names), max_size=4))
        )
        for name in sides
    ]
    body = helper.make_graph([helper.make_node("Abs", ["a"], ["b"])], "body", [], values, tensors)
    node = helper.make_node(
        "If", ["c"], ["d"], then_branch=body, else_branch=body, k=data.draw(st.integers(-9, 9))
    )
    made = helper.make_model(helper.make_graph([node], "g", values, values, tensors))
    path = tmp_path_factory.mktemp("made") / "model.onnx"
    library.save(made, str(path))
    found = onnx.read(path)
    assert list(found.inputs) == sides
    assert [each.name for each in found.tensors].count(tensors[0].name if tensors else "") == 3 * bool(
        tensors
    )
    assert {each.shape for each in found.tensors} == {tuple(each.dims) for each in tensors}
    assert [each.type_name for each in found.operators] == ["Abs", "Abs", "If"]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is no model at all", "."),
    "a GGUF file": (b"GGUF" + bytes(100), "."),
    "no graph": (number(1, 10), "no graph"),
    "no IR version": (part(7, NODE + OUTPUT), "IR version is 0"),
    "a graph twice": (GOOD + part(7, NODE), "field 7 twice"),
    "a cut varint": (GOOD + b"\x80", "within a number"),
    "a varint without an end": (number(1, 10) + b"\x38" + b"\xff" * 40, "more than 64 bits"),
    "a length beyond the file": (number(1, 10) + b"\x3a" + varint(1 << 40) + NODE, "but only"),
    "a length beyond its message": (model(NODE + part(12, b"\x0a\x7fy")), "but only"),
    "field 0": (GOOD + b"\x00\x00", "field of number 0"),
    "a group": (GOOD + b"\x0b\x0c", "wire type 3"),
    "nothing computed": (model(OUTPUT), "computes something"),
    "no output": (model(NODE), "computes something"),
    "an operator without a type": (model(part(1, part(1, b"x")) + OUTPUT), "has the type ''"),
    "an output twice": (model(NODE + OUTPUT + OUTPUT), "'y' twice"),
    "a name that is no text": (model(NODE + part(12, part(1, b"\xff\xfe"))), "not UTF-8"),
    "a name that is a number": (model(NODE + part(12, number(1, 7))), "wrong type"),
    "a name of a megabyte": (model(NODE + part(12, part(1, b"y" * (1 << 20)))), "at most 4,096"),
    "a tensor of unknown type": (model(NODE + OUTPUT + part(5, tensor(kind=99))), "unknown type 99"),
    "a shape too large": (
        model(NODE + OUTPUT + part(5, tensor(dims=(1 << 62, 1 << 62)))),
        "impossible shape",
    ),
    "a negative shape": (model(NODE + OUTPUT + part(5, tensor(dims=((1 << 64) - 1,)))), "impossible shape"),
    "many dimensions": (model(NODE + OUTPUT + part(5, tensor(dims=(1,) * 99))), "impossible shape"),
    "bytes that do not fill a tensor": (
        model(NODE + OUTPUT + part(5, tensor(more=part(9, bytes(8))))),
        "24 are needed",
    ),
    "graphs in graphs": (model(NODE + OUTPUT), "deep"),  # below
    "a training model": (GOOD + part(20, b""), "training"),
    "an absolute location": (
        model(NODE + OUTPUT + external(b"/etc/passwd")),
        "no name of a file in the folder",
    ),
    "a location above": (
        model(NODE + OUTPUT + external(b"../../etc/passwd")),
        "no name of a file in the folder",
    ),
    "a location within and above": (
        model(NODE + OUTPUT + external(b"a/../../b")),
        "no name of a file in the folder",
    ),
    "a Windows location": (model(NODE + OUTPUT + external(b"..\\b")), "no name of a file in the folder"),
    "a drive": (model(NODE + OUTPUT + external(b"C:b")), "no name of a file in the folder"),
    "no location": (model(NODE + OUTPUT + external(b"")), "no name of a file in the folder"),
    "a location with a NUL": (model(NODE + OUTPUT + external(b"a\0b")), "no name of a file in the folder"),
    "a negative offset": (model(NODE + OUTPUT + external(offset=b"-1")), "its offset is '-1'"),
    "an offset of many digits": (model(NODE + OUTPUT + external(offset=b"9" * 40)), "its offset is"),
    "a length that does not fit": (model(NODE + OUTPUT + external(length=b"23")), "its shape takes 24"),
    "two locations": (
        model(NODE + OUTPUT + part(5, tensor(more=entry(b"location", b"a") * 2 + number(14, 1)))),
        "'location' is said twice",
    ),
    "a location that is not used": (
        model(NODE + OUTPUT + part(5, tensor(more=entry(b"location", b"/etc/passwd")))),
        "does not say that it is there",
    ),
}


def _nested(depth: int) -> bytes:
    graph = NODE + OUTPUT
    for _ in range(depth):
        graph = part(1, part(4, b"If") + part(5, part(1, b"then") + part(6, graph))) + OUTPUT
    return model(graph)


HOSTILE["graphs in graphs"] = (_nested(50), "more than 8 deep")
HOSTILE["hidden in a constant"] = (
    model(part(1, part(4, b"Constant") + part(5, part(5, external(b"/etc/passwd")[2:]))) + OUTPUT),
    "no name of a file in the folder",
)
HOSTILE["hidden in a function"] = (
    GOOD + part(25, part(7, part(4, b"Constant") + part(5, part(10, external(b"../x")[2:])))),
    "no name of a file in the folder",
)
HOSTILE["hidden in a sparse tensor"] = (
    model(NODE + OUTPUT + part(15, part(1, external(b"../x")[2:]))),
    "no name of a file in the folder",
)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_soon_and_by_name(read: Callable[[bytes], onnx.ONNX], what: str) -> None:
    data, why = HOSTILE[what]
    with pytest.raises(FormatError, match=why) as refusal:
        read(data)
    assert refusal.value.message.startswith("model.onnx: ")
    assert refusal.value.hint


@pytest.mark.parametrize(
    "inner",
    [part(1, b""), NODE, part(5, b"\x10\x01"), part(11, part(1, b"x")), part(13, b""), number(99, 1)],
    ids=["operators", "whole operators", "tensors", "inputs", "types", "unknown fields"],
)
def test_millions_of_fields_are_refused_soon(read: Callable[[bytes], onnx.ONNX], inner: bytes) -> None:
    with pytest.raises(FormatError):
        read(model(inner * (4_000_000 // len(inner)) + OUTPUT))


def test_large_tensors_are_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    large = 900 << 20
    head = model(b"")[:2]
    weights = part(8, b"w") + number(2, 2) + number(1, large) + varint(9 << 3 | 2) + varint(large)
    initializer = varint(5 << 3 | 2) + varint(len(weights) + large) + weights
    graph_bytes = len(NODE + OUTPUT) + len(initializer) + large
    with path.open("wb") as file:  # a file with a hole: it takes no room
        file.write(head + varint(7 << 3 | 2) + varint(graph_bytes) + NODE + OUTPUT + initializer)
        file.truncate(file.tell() + large)
    started = time.process_time()
    found = onnx.read(path)
    assert time.process_time() - started < MAX_SECONDS
    assert [(each.name, each.shape) for each in found.tensors] == [("w", (large,))]


def _mutants(data: bytes, count: int) -> Iterator[bytes]:
    draw = random.Random(1)
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(mutant))
            match draw.randrange(4):
                case 0:
                    mutant[at] ^= 1 << draw.randrange(8)
                case 1:
                    mutant[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
                case 2:
                    del mutant[at : at + draw.randint(1, 20)]
                case _:
                    mutant[at:at] = draw.randbytes(draw.randint(1, 12))
        yield bytes(mutant)


def test_mutants_are_read_or_refused(read: Callable[[bytes], onnx.ONNX]) -> None:
    head = SMALL.SerializeToString()
    small = helper.make_model(
        helper.make_graph(SMALL.graph.node, "g", SMALL.graph.input, SMALL.graph.output, [])
    )
    for data in (small.SerializeToString(), head[:20_000]):
        for mutant in _mutants(data, 400):
            try:
                read(mutant)
            except FormatError as refusal:
                assert refusal.message and refusal.hint and len(refusal.message) < 500  # noqa: PT018, PT017


@pytest.mark.parametrize("step", [97])
def test_no_truncation_is_taken_for_the_whole(read: Callable[[bytes], onnx.ONNX], step: int) -> None:
    data = SMALL.SerializeToString()
    end_of_graph = data.index(SMALL.graph.SerializeToString()) + len(SMALL.graph.SerializeToString())
    for length in range(0, end_of_graph, step):
        with pytest.raises(FormatError):
            read(data[:length])


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "model.onnx"
    path.write_bytes(data)
    try:
        onnx.read(path)
    except FormatError as refusal:
        assert refusal.hint  # noqa: PT017


@given(st.integers(0, (1 << 64) - 1))
def test_every_number_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: int) -> None:
    path = tmp_path_factory.mktemp("varint") / "x"
    path.write_bytes(number(5, value))
    with path.open("rb", buffering=0) as file:
        wire = protobuf.Wire(file)
        assert list(wire.fields(wire.whole(), "x")) == [(5, value)]
    assert protobuf.signed(value) == (value if value < 1 << 63 else value - (1 << 64))


def _tensors(*places: tuple[str, int, int]) -> list[onnx_tensor.Tensor]:
    return [
        onnx_tensor.Tensor(f"t{index}", (), "uint8", onnx_tensor.External(*place))
        for index, place in enumerate(places)
    ]


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ([("a", 0, 10), ("a", 5, 10)], "overlaps"),
        ([("a", 0, 100), ("a", 90, 10), ("a", 20, 5)], "overlaps"),
        ([("b", 0, 1)], "is not there"),
        ([("a", 90, 20)], "which has 100"),
        ([("a", 1 << 62, 1)], "which has 100"),
    ],
)
def test_tensors_must_lie_apart_and_within_their_file(places: list[Any], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        onnx_tensor.check_places(_tensors(*places), {"a": 100})


def test_one_tensor_under_two_names_is_fine() -> None:
    onnx_tensor.check_places(_tensors(("a", 0, 50), ("a", 0, 50), ("a", 50, 50), ("a", 10, 0)), {"a": 100})


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "absent"):
        with pytest.raises(FormatError):
            onnx.read(path)
