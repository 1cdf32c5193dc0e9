"""An ONNX graph, written: nodes, and the weights that they name, which lie in it or outside of it. Follows onnx/onnx.proto.

What Hutch writes is small; the package `onnx` would bring protobuf and 20 MB for the few messages here.
"""

from collections.abc import Sequence

import numpy as np

from hutch.formats.ggml_numbers import Floats
from hutch.formats.protobuf_writer import message, number, single, text

_IR_VERSION, _OPSET = 8, 17
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators
_FLOAT, _INT64, INT32 = 1, 7, 6  # TensorProto.DataType
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT = 1, 2  # AttributeProto.AttributeType
_EXTERNAL = 1  # TensorProto.DataLocation


class NewGraph:
    """A graph while it grows. `weights` are the tensors that its nodes name."""

    def __init__(self) -> None:
        self.weights: dict[str, Floats] = {}
        self._nodes: list[bytes] = []

    def node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: float
    ) -> str:
        """Add an operator, and return its first output, which names it. Attributes are integers or floats."""
        self._nodes.append(
            message(
                1,
                *(text(1, each) for each in inputs),
                *(text(2, each) for each in outputs),
                text(3, outputs[0]),
                text(4, kind),
                *(_attribute(name, value) for name, value in attributes.items()),
                text(7, domain),
            )
        )
        return outputs[0]

    def weight(self, name: str, values: Floats) -> str:
        """Add a tensor, and return its name."""
        self.weights[name] = np.ascontiguousarray(values, np.float32)
        return name

    def model(self, inputs: Sequence[str], output: str, width: int, *, with_weights: bool) -> bytes:
        """The whole as a ModelProto: `inputs` are integers [batch, sequence], the output floats [batch, sequence, `width`].

        Without its weights the model says only how large each is, and whoever opens it hands them over.
        """
        graph = message(
            7,
            *self._nodes,
            text(2, "encoder"),
            *(_tensor(name, values, with_weights) for name, values in self.weights.items()),
            *(_value(11, name, _INT64, "batch", "sequence") for name in inputs),
            _value(12, output, _FLOAT, "batch", "sequence", width),
        )
        opsets = [message(8, text(1, name), number(2, version)) for name, version in _OPSETS.items()]
        return b"".join((number(1, _IR_VERSION), text(2, "hutch"), graph, *opsets))


_OPSETS = {"": _OPSET, MICROSOFT: 1}


def _attribute(name: str, value: float) -> bytes:
    if isinstance(value, int):
        return message(5, text(1, name), number(3, value), number(20, _ATTRIBUTE_INT))
    return message(5, text(1, name), single(2, value), number(20, _ATTRIBUTE_FLOAT))


def _tensor(name: str, values: Floats, with_weights: bool) -> bytes:
    shape = [number(1, size) for size in values.shape]
    if with_weights:
        data = [message(9, values.astype("<f4", copy=False).tobytes())]
    else:
        data = [message(13, text(1, "location"), text(2, "memory")), number(14, _EXTERNAL)]
    return message(5, *shape, number(2, _FLOAT), text(8, name), *data)


def _value(field: int, name: str, kind: int, *shape: int | str) -> bytes:
    sizes = [message(1, text(2, size) if isinstance(size, str) else number(1, size)) for size in shape]
    return message(field, text(1, name), message(2, message(1, number(1, kind), message(2, *sizes))))
