"""From one vector for each token to one for each text, as the model was trained for it. NumPy alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hutch.core.errors import FormatError
from hutch.formats import ggml_numbers, safetensors
from hutch.formats.ggml_numbers import Floats
from hutch.formats.pooling_config import Dense, PoolingConfig

_TYPES = ("F32", "F16", "BF16")
Lengths = NDArray[np.int64]


class Pooler:
    """What stands behind an encoder: pooling, dense layers, and scaling to unit length."""

    def __init__(self, config: PoolingConfig, files: Mapping[str, Path]) -> None:
        self._config = config
        self._layers: list[tuple[Floats, Floats, bool]] = []
        self.width = config.width
        for dense in config.denses:
            self._layers.append(_loaded(dense, files[dense.name], self.width))
            self.width = dense.width

    def pooled(self, states: Floats, lengths: Lengths) -> Floats:
        """The vectors of texts whose tokens have `states` [texts, tokens, width]; `lengths` says how many are theirs."""
        if self._config.pooling == "cls":
            return states[:, 0]
        if self._config.pooling == "last":
            return states[np.arange(len(states)), lengths - 1]
        inside = np.arange(states.shape[1]) < lengths[:, None]
        if self._config.pooling == "max":
            highest: Floats = np.where(inside[:, :, None], states, np.float32(-np.inf)).max(axis=1)
            return highest
        # a row times a matrix for each text: no copy of the states, and what is padding counts nothing
        weights = inside.astype(np.float32) / lengths[:, None].astype(np.float32)
        means: Floats = np.matmul(weights[:, None, :], states)[:, 0]
        return means

    def projected(self, vectors: Floats) -> Floats:
        """The vectors of texts after the dense layers."""
        for weight, bias, is_tanh in self._layers:
            vectors = vectors @ weight.T + bias
            vectors = np.tanh(vectors) if is_tanh else vectors
        return vectors

    def normalized(self, vectors: Floats) -> Floats:
        """The vectors at unit length, where the model wants that."""
        if self._config.normalizes:
            norms: Floats = np.linalg.norm(vectors, axis=1, keepdims=True)
            norms[norms == 0] = 1
            vectors = vectors / norms
        return vectors


def scores(logits: Floats, *, sigmoid: bool) -> Floats:
    """How well each document answers, of a head with one label, or with no and yes."""
    if logits.shape[1] == 2:
        return _sigmoid(logits[:, 1] - logits[:, 0])  # which is the softmax's second value
    return _sigmoid(logits[:, 0]) if sigmoid else logits[:, 0]


def _sigmoid(values: Floats) -> Floats:
    return (np.tanh(values / 2) / 2 + 0.5).astype(np.float32)  # never overflows


def _loaded(dense: Dense, path: Path, width: int) -> tuple[Floats, Floats, bool]:
    tensors = safetensors.read(path, dense.name)
    shapes: dict[str, Sequence[int]] = {"linear.weight": (dense.width, width), "linear.bias": (dense.width,)}
    found: list[Floats] = []
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if tensor is None and name == "linear.bias":
            found.append(np.zeros(dense.width, np.float32))
            continue
        if tensor is None or tensor.shape != tuple(shape) or tensor.dtype not in _TYPES:
            raise FormatError(f"{dense.name}: a float tensor {name} of shape {list(shape)} is needed")
        found.append(ggml_numbers.decode(tensor.dtype, b"".join(tensor.pieces())).reshape(shape))
    return found[0], found[1], dense.is_tanh
