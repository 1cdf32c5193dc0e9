"""`config.json` of an encoder in Hugging Face's layout: BERT and its kin, for embeddings or for ranking."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats import bounded_json
from hutch.formats.gguf_source import shown
from hutch.formats.onnx import ONNX

NAME = "config.json"
_MAX_BYTES = 1 << 20
_MAX_COUNT = 1 << 24
_GRAPHS = ("model.onnx", "onnx/model.onnx")
_INPUTS = frozenset(("input_ids", "attention_mask", "token_type_ids", "position_ids"))
_HINT = "A model that writes needs a genai_config.json: make one with ONNX Runtime GenAI's model builder."


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What the file says. `is_reranker`: it judges pairs of texts, and makes no vectors."""

    type: str
    hidden_size: int
    num_layers: int
    context_length: int
    is_reranker: bool


def read(files: Mapping[str, Path]) -> EncoderConfig:
    """Read and check the file. Raises FormatError."""
    if NAME not in files:
        raise FormatError("the model has neither genai_config.json nor config.json", hint=_HINT)
    said = bounded_json.read(files[NAME], NAME, _MAX_BYTES)
    architectures = said.get("architectures") or [""]
    name = architectures[0] if isinstance(architectures, list) else ""
    kind = said.get("model_type")
    if not isinstance(kind, str) or not isinstance(name, str) or not kind.isprintable() or len(kind) > 64:
        raise FormatError(f"{NAME}: model_type is {shown(kind)}; a name like bert is needed", hint=_HINT)
    return EncoderConfig(
        type=kind,
        hidden_size=_count(said, "hidden_size", "dim"),
        num_layers=_count(said, "num_hidden_layers", "n_layers"),
        # The family of RoBERTa counts positions from 2.
        context_length=_count(said, "max_position_embeddings") - (2 if "roberta" in kind else 0),
        is_reranker=name.endswith("ForSequenceClassification"),
    )


def graph_name(names: Iterable[str]) -> str:
    """The graph among these files. Raises FormatError where there is none, or no one that is meant."""
    known = sorted(name for name in names if name.endswith(".onnx"))
    found = next((name for name in _GRAPHS if name in known), known[0] if len(known) == 1 else None)
    if found is None:
        why = f"has {len(known)} ONNX files, and none is model.onnx" if known else "has no ONNX file"
        raise FormatError(f"the model {why}", hint="Name the one to be run model.onnx.")
    return found


def check(graph: ONNX, label: str) -> None:
    """Raise FormatError where a graph is not an encoder's."""
    if "input_ids" not in graph.inputs or not graph.inputs.keys() <= _INPUTS:
        odd = sorted(graph.inputs.keys() - _INPUTS)
        found = f"an input {shown(odd[0])}" if odd else "no input input_ids"
        raise FormatError(f"{label} is no encoder: it has {found}", hint=_HINT)


def _count(said: Mapping[str, Any], *keys: str) -> int:
    value = next((said[key] for key in keys if key in said), None)
    if type(value) is not int or not 1 <= value <= _MAX_COUNT:
        raise FormatError(f"{NAME}: {keys[0]} is {shown(value)}; a count is needed", hint=_HINT)
    return value
