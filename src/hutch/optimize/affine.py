"""Matrices of an ONNX graph as 4-bit blocks with a scale and a least value each, within the job's process.

GGUF's 4-bit blocks stand for `scale * q + least`; ONNX's `MatMulNBits` has a whole number in place of `least`, so that what was
quantised once would be rounded a second time. Here the product is taken of `scale * (q - 8)`; what is missing of each block,
`(least + 8 * scale)` times the sum of the block's inputs, is a product too, of a matrix that is 32 times narrower: it stands
behind the first one in the same matrix, and the sums behind the inputs. Blocks on a grid of at most 16 levels come out as they
were, to 8 bits of their least value. The head is in 8-bit blocks, of which the embedding is a view.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hutch.core.errors import BadInput
from hutch.core.models import Progress
from hutch.optimize.libraries import needed

Floats = NDArray[np.float32]
BLOCK = 32
_LEVELS = 16
_HALF = 8
_DOMAIN = "com.microsoft"
_INT8_MIDDLE = 128


def blocks_of(weights: Floats) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """The blocks of weights [outputs, inputs]: levels [outputs, blocks, 32] from 0 to 15, scales and least values [outputs, blocks].

    Of the grids from 16 levels down to 9, each block takes the one that comes nearest to it.
    """
    outputs, inputs = weights.shape
    blocks = weights.reshape(outputs, inputs // BLOCK, BLOCK)
    least = blocks.min(axis=-1, keepdims=True)
    reach = blocks.max(axis=-1, keepdims=True) - least
    best_error = np.full(least.shape, np.inf, np.float32)
    best_scale = np.zeros_like(least)
    levels = np.zeros(blocks.shape, np.uint8)
    for steps in range(_LEVELS - 1, _HALF - 1, -1):
        scale = reach / np.float32(steps)
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
        rounded = np.rint((blocks - least) * inverse)
        error = np.square(rounded * scale + least - blocks).sum(axis=-1, keepdims=True)
        # a coarser grid has to be better by more than rounding
        is_better = error < best_error * np.float32(0.5)
        best_error = np.where(is_better, error, best_error)
        best_scale = np.where(is_better, scale, best_scale)
        levels = np.where(is_better, rounded.astype(np.uint8), levels)
    return levels, best_scale[..., 0], least[..., 0]


def rest_of(values: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Values [outputs, n] as blocks around 8: first rounded to 4 bits, then what that left, so that both together have 8.

    Returns levels [outputs, 2 * m, 32] and scales [outputs, 2 * m], where m blocks hold n values and zeros behind them.
    """
    outputs, num = values.shape
    left = np.zeros((outputs, -(-num // BLOCK), BLOCK), np.float32)
    left.reshape(outputs, -1)[:, :num] = values
    found = []
    for _ in range(2):
        farthest = np.take_along_axis(left, np.abs(left).argmax(axis=-1)[..., None], axis=-1)
        scale = farthest / np.float32(-_HALF)
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
        rounded = np.rint(left * inverse).clip(-_HALF, _HALF - 1)
        left = left - rounded * scale
        found.append(((rounded + _HALF).astype(np.uint8), scale[..., 0]))
    levels, scales = zip(*found, strict=True)
    return np.concatenate(levels, axis=1), np.concatenate(scales, axis=1)


def quantize(graph: Path, target: Path) -> Iterator[Progress]:
    """Write a graph of float matrices with its matrices in blocks. Raises BadInput where none can be."""
    onnx = needed("onnx")
    model = onnx.load(graph)
    work = _Work(onnx, model.graph)
    nodes = list(model.graph.node)
    found = [node for node in nodes if work.is_matrix(node)]
    if not found or any(node.op_type == "MatMulNBits" for node in nodes):
        raise BadInput("the graph has no float matrices to quantise", hint="Begin with a model of floats.")
    replaced: dict[str, list[Any]] = {}  # by the node's first output: a name may be empty, and that may not
    for done, node in enumerate(found):
        yield Progress("quantising to 4-bit blocks", total=len(found), completed=done + 1)
        is_head = node.output[0] == "logits"
        replaced[node.output[0]] = work.head(node) if is_head else work.affine(node)
    replaced |= work.embedding(nodes)
    del model.graph.node[:]
    model.graph.node.extend(new for node in nodes for new in replaced.get(node.output[0], [node]))
    work.write_initializers()
    if not any(each.domain == _DOMAIN for each in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    yield Progress("writing the graph")
    data = f"{target.name}.data"
    onnx.save_model(model, target, save_as_external_data=True, location=data, size_threshold=1024)


class _Work:
    """The initializers of one graph while its matrices are exchanged."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx, self._graph = onnx, graph
        self._known = {each.name: each for each in graph.initializer}
        self._new: dict[str, Any] = {}
        self._gone: set[str] = set()
        self._head: tuple[str, str, int, int] | None = None  # levels, scales, words, width
        self._head_name = ""
        self._tied: Floats | None = None

    def is_matrix(self, node: Any) -> bool:
        """Whether it multiplies by a float matrix whose rows fill whole blocks."""
        if node.op_type != "MatMul" or len(node.input) != 2:
            return False
        weights = self._known.get(node.input[1])
        return weights is not None and len(weights.dims) == 2 and weights.dims[0] % BLOCK == 0

    def affine(self, node: Any) -> list[Any]:
        """The nodes in place of a multiplication."""
        source, name = node.input[0], node.input[1]
        levels, scales, least = blocks_of(np.ascontiguousarray(self._values(name).T))
        outputs, blocks, _ = levels.shape
        inputs = blocks * BLOCK
        more_levels, more_scales = rest_of(least + np.float32(_HALF) * scales)
        levels = np.concatenate([levels, more_levels], axis=1)
        packed = levels[..., 0::2] | (levels[..., 1::2] << 4)
        weights = (
            self._add(f"{name}_Q4", packed),
            self._add(f"{name}_scales", np.concatenate([scales, more_scales], axis=1)),
        )
        sums, longer = f"{node.output[0]}/sums", f"{node.output[0]}/longer"
        make = self._onnx.helper.make_node
        return [
            make("MatMul", [source, self._sums(inputs)], [sums], sums),
            make("Concat", [source, sums], [longer], longer, axis=-1),
            make(
                "MatMulNBits",
                [longer, *weights],
                list(node.output),
                f"{node.output[0]}_Q4",
                domain=_DOMAIN,
                K=levels.shape[1] * BLOCK,
                N=outputs,
                bits=4,
                block_size=BLOCK,
                accuracy_level=4,
            ),
        ]

    def head(self, node: Any) -> list[Any]:
        """The node in place of the multiplication that makes logits, in 8-bit blocks."""
        name = node.input[1]
        values = np.ascontiguousarray(self._values(name).T)
        outputs, inputs = values.shape
        blocks = values.reshape(outputs, inputs // BLOCK, BLOCK)
        scales = np.abs(blocks).max(axis=-1) / np.float32(_INT8_MIDDLE - 1)
        inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales > 0)
        levels = (np.rint(blocks * inverse[..., None]) + _INT8_MIDDLE).astype(np.uint8)
        self._head = (self._add(f"{name}_Q8", levels), self._add(f"{name}_scales", scales), outputs, inputs)
        self._head_name, self._tied = name, values
        return [
            self._onnx.helper.make_node(
                "MatMulNBits",
                [node.input[0], *self._head[:2]],
                list(node.output),
                f"{node.output[0]}_Q8",
                domain=_DOMAIN,
                K=inputs,
                N=outputs,
                bits=8,
                block_size=BLOCK,
                accuracy_level=4,
            )
        ]

    def embedding(self, nodes: list[Any]) -> dict[str, list[Any]]:
        """The nodes in place of the look-up of words, where it uses the same table as the head, turned or not."""
        if self._head is None or self._tied is None:
            return {}
        turned = {
            node.output[0]: node
            for node in nodes
            if node.op_type == "Transpose" and node.input[0] == self._head_name
        }
        for node in nodes:
            if node.op_type != "Gather":
                continue
            if (turn := turned.get(node.input[0])) is not None:
                return {turn.output[0]: [], node.output[0]: self._view(node)}
            table = self._known.get(node.input[0])
            if table is None or tuple(table.dims) != self._tied.shape:
                continue
            if np.array_equal(self._onnx.numpy_helper.to_array(table), self._tied):
                self._gone.add(table.name)
                return {node.output[0]: self._view(node)}
        return {}

    def _view(self, node: Any) -> list[Any]:
        assert self._head is not None  # noqa: S101
        levels, scales, words, width = self._head
        make = self._onnx.helper.make_node
        shape = self._add(f"{node.output[0]}/shape", np.array([words, width], np.int64))
        middle = self._add(
            f"{node.output[0]}/middle", np.full((words, width // BLOCK), _INT8_MIDDLE, np.uint8)
        )
        return [
            make("Reshape", [levels, shape], [f"{node.output[0]}/table"], f"{node.output[0]}/table"),
            make(
                "GatherBlockQuantized",
                [f"{node.output[0]}/table", node.input[1], scales, middle],
                list(node.output),
                f"{node.output[0]}_Q8",
                domain=_DOMAIN,
                bits=8,
                block_size=BLOCK,
                gather_axis=0,
                quantize_axis=1,
            ),
        ]

    def write_initializers(self) -> None:
        """Put the new ones into the graph in place of those that are used no more."""
        kept = [each for each in self._graph.initializer if each.name not in self._gone]
        del self._graph.initializer[:]
        self._graph.initializer.extend([*kept, *self._new.values()])

    def _values(self, name: str) -> Floats:
        self._gone.add(name)
        values: Floats = self._onnx.numpy_helper.to_array(self._known[name]).astype(np.float32)
        return values

    def _sums(self, inputs: int) -> str:
        """The matrix that adds up each block of inputs, twice, as `rest_of` wants it."""
        name = f"hutch/sums_of_{inputs}"
        if name not in self._new:
            blocks = inputs // BLOCK
            once = np.zeros((inputs, -(-blocks // BLOCK) * BLOCK), np.float32)
            once[:, :blocks] = np.repeat(np.eye(blocks, dtype=np.float32), BLOCK, axis=0)
            self._add(name, np.concatenate([once, once], axis=1))
        return name

    def _add(self, name: str, values: NDArray[Any]) -> str:
        self._new[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name
