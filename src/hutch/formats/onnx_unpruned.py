"""A decoder graph that gives the logits after each token, made of one that gives those after the last alone.

The GenAI model builder prunes so: the last position is gathered before the operator that makes the logits. Whoever looks several
guessed tokens over in one step needs the logits after each of them. Follows onnx/onnx.proto.
"""

from pathlib import Path

from hutch.formats.gguf import open_regular
from hutch.formats.onnx_tensor import TYPES
from hutch.formats.protobuf import Message, Span, Wire

_MAX_BYTES = 256 << 20  # it is held in memory; what is larger has its weights in it
_GRAPH, _NODE, _OUTPUT, _VALUE_INFO = 7, 1, 12, 13
_INPUTS, _OUTPUTS, _TYPE = 1, 2, 4
_HEADS = ("MatMul", "MatMulNBits")
_FLOATS = {name: number for number, (name, _) in TYPES.items()}


def unpruned(path: Path, logits: str, vocab_size: int) -> bytes | None:
    """The bytes of the graph with its `logits` for each token: [rows, tokens, vocab_size]; None for one that is not pruned so.

    Files with its tensors are named in it by their path from its folder, as before. Raises FormatError.
    """
    if path.stat().st_size > _MAX_BYTES:
        return None
    with open_regular(path) as file:
        wire = Wire(file)
        graph = Message(wire, wire.whole(), "the model", frozenset((_GRAPH,))).span(_GRAPH)
        file.seek(0)
        data = file.read()
        found = graph and _Graph(wire, data, graph).without_gather(logits, vocab_size)
    if not graph or not found:
        return None
    header = _field(_GRAPH, data[graph.start : graph.end])[: -graph.size_bytes]
    if data[: graph.start].endswith(header):
        return data[: graph.start - len(header)] + _field(_GRAPH, found) + data[graph.end :]
    return None  # its length is written in more bytes than it needs


class _Graph:
    """A GraphProto's fields, as bytes."""

    def __init__(self, wire: Wire, data: bytes, span: Span) -> None:
        self._wire, self._data = wire, data
        self._fields = [
            (number, value) for number, value in wire.fields(span, "a graph") if isinstance(value, Span)
        ]
        self._makers: dict[str, tuple[Span, Message]] = {}
        for number, value in self._fields:
            if number == _NODE:
                node = Message(wire, value, "an operator", frozenset((_INPUTS, _OUTPUTS, _TYPE)))
                self._makers |= dict.fromkeys(node.texts(_OUTPUTS), (value, node))

    def without_gather(self, logits: str, vocab_size: int) -> bytes:
        """The graph with the operator before the logits moved before the gathering; nothing where there is none."""
        if self._type(logits) == "Cast":
            span, head = self._makers[self._makers[logits][1].texts(_INPUTS)[0]]
        elif logits in self._makers:
            span, head = self._makers[logits]
        else:
            return b""
        chain = head.text(_TYPE), head.texts(_INPUTS)[0]
        if chain[0] not in _HEADS or self._type(chain[1]) != "Unsqueeze":
            return b""
        gathered = self._makers[chain[1]][1].texts(_INPUTS)[0]
        if self._type(gathered) != "Gather":
            return b""
        states = self._makers[gathered][1].texts(_INPUTS)[0]
        parts = []
        for number, value in self._fields:
            raw = self._data[value.start : value.end]
            if value == span:
                raw = self._with_first_input(span, states)
            elif number == _OUTPUT and self._name(value) == logits:
                raw = _value(logits, self._element(value), vocab_size)
            if number != _VALUE_INFO:  # shapes in between, some of which change; they are inferred anew
                parts.append(_field(number, raw))
        return b"".join(parts)

    def _type(self, output: str) -> str:
        return self._makers[output][1].text(_TYPE) if output in self._makers else ""

    def _with_first_input(self, node: Span, name: str) -> bytes:
        fields = [
            (number, self._data[value.start : value.end])
            for number, value in self._wire.fields(node, "an operator")
            if isinstance(value, Span)
        ]
        inputs = [raw for number, raw in fields if number == _INPUTS]
        others = [(number, raw) for number, raw in fields if number != _INPUTS]
        kept = [(_INPUTS, raw) for raw in (name.encode(), *inputs[1:])]
        return b"".join(_field(number, raw) for number, raw in (*kept, *others))

    def _name(self, value: Span) -> str:
        return Message(self._wire, value, "an output", frozenset((1,))).text(1)

    def _element(self, value: Span) -> int:
        """The number of the type of an output's elements."""
        kind = Message(self._wire, value, "an output", frozenset((2,))).span(2)
        tensor = kind and Message(self._wire, kind, "a type", frozenset((1,))).span(1)
        if not tensor:
            return _FLOATS["float32"]
        return Message(self._wire, tensor, "a type", frozenset((1,))).number(1)


def _value(name: str, element: int, vocab_size: int) -> bytes:
    """A ValueInfoProto of [rows, tokens, vocab_size]."""
    dimensions = (_field(2, b"batch_size"), _field(2, b"sequence_length"), b"\x08" + _varint(vocab_size))
    shape = b"".join(_field(1, each) for each in dimensions)
    tensor = b"\x08" + _varint(element) + _field(2, shape)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, raw: bytes) -> bytes:
    """A field of bytes; its number is below 16."""
    return bytes((number << 3 | 2,)) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*groups, value))
