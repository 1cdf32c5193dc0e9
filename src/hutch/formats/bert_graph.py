"""The graph of a BERT in a GGUF file, for ONNX Runtime.

It is of ONNX Runtime's own fused operators (`com.microsoft`): one node for the attention of a layer, one for each sum with
its normalisation. It takes batches of any size and length, and leaves pooling to who runs it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hutch.core.errors import FormatError
from hutch.formats import bert, ggml_numbers, gguf
from hutch.formats.ggml_numbers import Floats
from hutch.formats.gguf import GGUF
from hutch.formats.onnx_writer import INT32, MICROSOFT, NewGraph

INPUTS, OUTPUT = ("input_ids", "attention_mask", "token_type_ids"), "last_hidden_state"


def graph(path: Path, facts: GGUF) -> NewGraph:
    """The graph of the model at `path`, in which `bert` sees no problem, from INPUTS to OUTPUT. Raises FormatError."""
    return _Builder(_Weights(path, facts), facts).built()


class _Weights:
    """The tensors of a GGUF file as float matrices, by name."""

    def __init__(self, path: Path, facts: GGUF) -> None:
        self._path, self._start = path, facts.data_start
        self._tensors = {tensor.name: tensor for tensor in facts.tensors}

    def __call__(self, name: str) -> Floats:
        """A tensor, the row's length last. Raises FormatError."""
        tensor = self._tensors[name]
        with gguf.open_regular(self._path) as file:
            file.seek(self._start + tensor.offset)
            data = file.read(tensor.size_bytes)
        if len(data) != tensor.size_bytes:
            raise FormatError(f"{self._path} shrank while it was read", hint="Try again.")
        return ggml_numbers.decode(tensor.type_name, data).reshape(tensor.shape[::-1])


class _Builder:
    """The graph, layer by layer."""

    def __init__(self, weights: _Weights, facts: GGUF) -> None:
        self._weights = weights
        self._facts = facts
        self._graph = NewGraph()
        self._epsilon = bert.epsilon(facts)

    def built(self) -> NewGraph:
        """The whole of it."""
        for name in INPUTS:
            self._graph.node("Cast", [name], [f"{name}_32"], to=INT32)
        tables = [self._weight(f"{name}.weight") for name in ("token_embd", "position_embd", "token_types")]
        hidden = self._fused(
            "EmbedLayerNormalization",
            ["input_ids_32", "token_type_ids_32", *tables, *self._norm("token_embd_norm")],
            "embedded",
            "",  # the operator has a second output, which is for another form of mask
            epsilon=self._epsilon,
        )
        for layer in range(bert.count(self._facts, "block_count")):
            hidden = self._layer(f"blk.{layer}.", hidden)
        self._graph.node("Identity", [hidden], [OUTPUT])
        return self._graph

    def _layer(self, prefix: str, hidden: str) -> str:
        joined = [
            self._graph.weight(
                f"{prefix}attn_qkv.{part}",
                np.concatenate([self._weights(f"{prefix}attn_{each}.{part}").T for each in "qkv"], axis=-1),
            )
            for part in ("weight", "bias")
        ]
        seen = self._fused(
            "Attention",
            [hidden, *joined, "attention_mask_32"],
            f"{prefix}attended",
            num_heads=bert.count(self._facts, "attention.head_count"),
        )
        seen = self._product(f"{prefix}attn_output", seen)
        hidden = self._normed(f"{prefix}attn_output_norm", seen, hidden, f"{prefix}attn_output.bias")
        up = self._product(f"{prefix}ffn_up", hidden)
        grown = self._fused("BiasGelu", [up, self._weight(f"{prefix}ffn_up.bias")], f"{prefix}gelu")
        down = self._product(f"{prefix}ffn_down", grown)
        return self._normed(f"{prefix}layer_output_norm", down, hidden, f"{prefix}ffn_down.bias")

    def _product(self, name: str, of: str) -> str:
        weight = self._graph.weight(f"{name}.weight", self._weights(f"{name}.weight").T)
        return self._graph.node("MatMul", [of, weight], [f"{name}.product"])

    def _normed(self, name: str, what: str, skip: str, bias: str) -> str:
        inputs = [what, skip, *self._norm(name), self._weight(bias)]
        return self._fused("SkipLayerNormalization", inputs, f"{name}.out", epsilon=self._epsilon)

    def _norm(self, name: str) -> list[str]:
        return [self._weight(f"{name}.{part}") for part in ("weight", "bias")]

    def _weight(self, name: str) -> str:
        return self._graph.weight(name, self._weights(name))

    def _fused(self, kind: str, inputs: Sequence[str], *outputs: str, **attributes: float) -> str:
        return self._graph.node(kind, inputs, outputs, MICROSOFT, **attributes)
