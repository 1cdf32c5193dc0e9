"""An ONNX file: the graph's signature, its operators and where its tensors lie, checked before an engine may see it.

Follows onnx/onnx.proto. Only the structure is read, tensors are stepped over. It is stricter than protobuf's own reader: a
message that is there twice would be merged by one reader and not by another, and so is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hutch.core.errors import BadInput, FormatError
from hutch.formats import onnx_tensor
from hutch.formats.gguf import open_regular
from hutch.formats.gguf_source import DAMAGED, INCOMPLETE, shown
from hutch.formats.onnx_tensor import Tensor
from hutch.formats.protobuf import Message, Span, Wire, signed

MAX_DEPTH = 8  # of graphs in graphs: the bodies of If, Loop and Scan
MAX_OPERATORS = 100_000
MAX_TENSORS = 1 << 17
MAX_VALUES = 1 << 12  # inputs, or outputs
MAX_FILE_BYTES = 2 << 30  # protobuf's own limit
_OLDEST_IR, _NEWEST_IR = 3, 64
_HINT = "Export the model again, with a current tool, or get it from another source."


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of the graph. A dimension is a number, or the name of one that is known at run time."""

    name: str
    type_name: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator, with the integers and names that tell how weights are packed."""

    type_name: str
    domain: str
    inputs: tuple[str, ...]
    integers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ONNX:
    """What an ONNX file says. Tensors and operators are those of inner graphs and functions, too."""

    ir_version: int
    opsets: Mapping[str, int]
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    size_bytes: int

    @property
    def locations(self) -> frozenset[str]:
        """The files beside this one that hold its tensors."""
        return frozenset(each.external.location for each in self.tensors if each.external is not None)


_MODEL = frozenset((1, 7, 8, 20, 25))
_GRAPH = frozenset((1, 5, 11, 12, 15))
_NODE = frozenset((1, 4, 5, 7))
_ATTRIBUTE = frozenset((1, 3, 5, 6, 10, 11, 22, 23))


def read(path: Path, label: str = "") -> ONNX:
    """Read and check the ONNX file at `path`; errors call it `label`. Raises FormatError. Files beside it are not opened."""
    label = label or path.name
    try:
        with open_regular(path) as file:
            return _Reader(Wire(file)).model()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise FormatError(f"{label} cannot be read: {why}", hint="Check that it is there.") from error
    except BadInput as error:
        raise FormatError(f"{label}: {error.message}", hint=error.hint) from error


class _Reader:
    """What has been read of a file so far."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []

    def model(self) -> ONNX:
        """Read a ModelProto."""
        wire = self._wire
        if not wire.size_bytes:
            raise FormatError("the file is empty", hint=INCOMPLETE)
        if wire.size_bytes > MAX_FILE_BYTES:
            raise FormatError("the file has more than 2 GiB, which protobuf does not allow", hint=_HINT)
        said = Message(wire, wire.whole(), "the model", _MODEL)
        if not _OLDEST_IR <= said.number(1) <= _NEWEST_IR:
            raise FormatError(f"not an ONNX file: its IR version is {said.number(1)}", hint=_HINT)
        if said.spans(20):
            raise FormatError("a model for training", hint="Export the model for inference.")
        graph = said.span(7)
        if graph is None:
            raise FormatError("the file has no graph", hint=_HINT)
        sides = self._graph(graph, 0)
        for function in said.spans(25):
            inner = Message(wire, function, "a function", frozenset((7, 11)))
            for node in inner.spans(7):
                self._node(node, 0)
            for attribute in inner.spans(11):
                self._attribute(attribute, 0)
        inputs, outputs = (self._values(spans) for spans in sides)
        if not outputs or not self._operators:
            raise FormatError("the file has no graph that computes something", hint=_HINT)
        opsets = dict(self._opset(span) for span in said.spans(8))
        lists = tuple(self._tensors), tuple(self._operators)
        return ONNX(said.number(1), opsets, inputs, outputs, *lists, wire.size_bytes)

    def _graph(self, span: Span, depth: int) -> tuple[list[Span], list[Span]]:
        """Read a GraphProto; returns where its inputs and outputs are described."""
        if depth > MAX_DEPTH:
            raise FormatError(f"graphs in graphs, more than {MAX_DEPTH} deep", hint=DAMAGED)
        said = Message(self._wire, span, "a graph", _GRAPH)
        for node in said.spans(1):
            self._node(node, depth)
        for tensor in said.spans(5):
            self._tensor(tensor)
        for sparse in said.spans(15):
            self._sparse(sparse)
        return said.spans(11), said.spans(12)

    def _node(self, span: Span, depth: int) -> None:
        """Read a NodeProto."""
        said = Message(self._wire, span, "an operator", _NODE)
        type_name, inputs = said.text(4), said.texts(1)
        if not type_name.isidentifier():
            raise FormatError(f"an operator has the type {shown(type_name)}", hint=DAMAGED)
        found = [self._attribute(each, depth) for each in said.spans(5)]
        integers = {name: value for name, value in found if value is not None}
        self._operators.append(Operator(type_name, said.text(7), inputs, integers))
        if len(self._operators) > MAX_OPERATORS:
            raise FormatError(f"more than {MAX_OPERATORS:,} operators", hint=DAMAGED)

    def _attribute(self, span: Span, depth: int) -> tuple[str, int | None]:
        """Read an AttributeProto: its name, and its integer where it is one."""
        said = Message(self._wire, span, "an attribute", _ATTRIBUTE)
        for tensor in (*said.spans(5), *said.spans(10)):
            self._tensor(tensor)
        for graph in (*said.spans(6), *said.spans(11)):
            self._graph(graph, depth + 1)
        for sparse in (*said.spans(22), *said.spans(23)):
            self._sparse(sparse)
        return said.text(1), signed(said.number(3)) if said.has(3) else None

    def _sparse(self, span: Span) -> None:
        """Read a SparseTensorProto."""
        said = Message(self._wire, span, "a sparse tensor", frozenset((1, 2)))
        for tensor in (said.span(1), said.span(2)):
            if tensor is not None:
                self._tensor(tensor)

    def _tensor(self, span: Span) -> None:
        self._tensors.append(onnx_tensor.read(self._wire, span))
        if len(self._tensors) > MAX_TENSORS:
            raise FormatError(f"more than {MAX_TENSORS:,} tensors", hint=DAMAGED)

    def _values(self, spans: list[Span]) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for span in spans:
            value = self._value(span)
            if not value.name or value.name in values or len(values) >= MAX_VALUES:
                name = shown(value.name)
                raise FormatError(f"the graph has {name} twice, or too many inputs or outputs", hint=DAMAGED)
            values[value.name] = value
        return values

    def _value(self, span: Span) -> Value:
        """Read a ValueInfoProto, with the TypeProto.Tensor in it."""
        wire = self._wire
        said = Message(wire, span, "an input or output", frozenset((1, 2)))
        kind = said.span(2)
        tensor = kind and Message(wire, kind, "a type", frozenset((1,))).span(1)
        if not tensor:
            return Value(said.text(1), "", ())
        inner = Message(wire, tensor, "a type", frozenset((1, 2)))
        shape = inner.span(2)
        dimensions = Message(wire, shape, "a shape", frozenset((1,))).spans(1) if shape else []
        if len(dimensions) > onnx_tensor.MAX_DIMENSIONS:
            raise FormatError(f"{shown(said.text(1))} has {len(dimensions)} dimensions", hint=DAMAGED)
        type_name = onnx_tensor.TYPES.get(inner.number(1), ("", 0))[0]
        return Value(said.text(1), type_name, tuple(map(self._dimension, dimensions)))

    def _dimension(self, span: Span) -> int | str:
        said = Message(self._wire, span, "a dimension", frozenset((1, 2)))
        return signed(said.number(1)) if said.has(1) else said.text(2)

    def _opset(self, span: Span) -> tuple[str, int]:
        said = Message(self._wire, span, "an operator set", frozenset((1, 2)))
        return said.text(1), said.number(2)
