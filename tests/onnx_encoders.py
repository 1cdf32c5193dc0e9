"""Folders with tiny ONNX encoders of random weights, and what they must answer, computed in NumPy.

The graphs are of a few plain operators: a text's tokens are looked up, changed by a matrix, and where the model ranks summed
up into logits. Padding that leaked into a result would show.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hf_folders import safetensors

Numbers = np.ndarray[Any, Any]
WIDTH, POSITIONS = 8, 32
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", "##a", "##b", "##c")
CLS, SEP = 2, 3
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Tiny:
    """A folder, and the weights of the graph in it."""

    folder: Path
    words: Numbers
    types: Numbers
    change: Numbers
    head: Numbers

    def states(self, ids: Sequence[int], types: Sequence[int] | None = None) -> Numbers:
        """The vectors of a text's tokens."""
        kinds = np.zeros(len(ids), int) if types is None else np.asarray(types)
        return np.asarray(np.tanh((self.words[list(ids)] + self.types[kinds]) @ self.change))

    def mean(self, ids: Sequence[int]) -> Numbers:
        """A text's vector of unit length."""
        vector = self.states(ids).mean(axis=0)
        return np.asarray(vector / np.linalg.norm(vector))

    def logits(self, ids: Sequence[int], types: Sequence[int]) -> Numbers:
        """What the head says of a pair."""
        return np.asarray(self.states(ids, types).sum(axis=0) @ self.head)


def encoder(
    folder: Path,
    *,
    output: str = "last_hidden_state",
    labels: int = 0,
    integers: int = TensorProto.INT64,
    inputs: Sequence[str] = _INPUTS,
    config: Mapping[str, Any] | None = None,
) -> Tiny:
    """Write an encoder; with `labels` a reranker whose output is called logits."""
    numbers = np.random.default_rng(5)
    tiny = Tiny(
        folder,
        *(
            numbers.normal(0, 0.3, shape).astype(np.float32)
            for shape in ((len(WORDS), WIDTH), (2, WIDTH), (WIDTH, WIDTH), (WIDTH, max(labels, 1)))
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_model(tiny, output, labels, integers, inputs), folder / "model.onnx")
    said: dict[str, Any] = {
        "architectures": ["BertForSequenceClassification" if labels else "BertModel"],
        "model_type": "bert",
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 0,
    }
    if labels:
        said["id2label"] = {str(index): f"LABEL_{index}" for index in range(labels)}
    (folder / "config.json").write_text(json.dumps(said | dict(config or {})))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return tiny


def pooled(
    folder: Path, mode: str, *, normalized: bool = True, denses: Mapping[str, Numbers] | None = None
) -> None:
    """Put the files of sentence-transformers beside an encoder. `denses`: matrices by the folder that each gets."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *((path, "Dense") for path in denses or {})]
    kinds += [("9_Normalize", "Normalize")] if normalized else []
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    for path, weight in (denses or {}).items():
        (folder / path).mkdir()
        said = {"in_features": weight.shape[1], "out_features": weight.shape[0]}
        (folder / path / "config.json").write_text(json.dumps(said))
        (folder / path / "model.safetensors").write_bytes(safetensors({"linear.weight": weight}))


def tokenizer() -> dict[str, Any]:
    """WordPiece over WORDS, with a truncation and a padding as published files have them."""
    one = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    one.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    two = [*one, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {
            "strategy": {"Fixed": 8},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [
            {"id": index, "content": text, "special": True, **flags} for index, text in enumerate(WORDS[:5])
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": one,
            "pair": two,
            "special_tokens": {
                text: {"id": text, "ids": [WORDS.index(text)], "tokens": [text]}
                for text in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {text: index for index, text in enumerate(WORDS)},
        },
    }


def _model(tiny: Tiny, output: str, labels: int, integers: int, inputs: Sequence[str]) -> Any:
    nodes = [helper.make_node("Gather", ["words", "input_ids"], ["looked_up"])]
    last = "looked_up"
    if "token_type_ids" in inputs:
        nodes.append(helper.make_node("Gather", ["types", "token_type_ids"], ["kinds"]))
        nodes.append(helper.make_node("Add", [last, "kinds"], ["typed"]))
        last = "typed"
    if "position_ids" in inputs:  # used, and without effect
        nodes.append(helper.make_node("Cast", ["position_ids"], ["places"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", ["places", "nothing"], ["no_places"]))
        nodes.append(helper.make_node("Unsqueeze", ["no_places", "two"], ["no_place"]))
        nodes.append(helper.make_node("Add", [last, "no_place"], ["placed"]))
        last = "placed"
    nodes.append(helper.make_node("MatMul", [last, "change"], ["changed"]))
    name = "states" if labels else output
    nodes.append(helper.make_node("Tanh", ["changed"], [name]))
    shape: list[Any] = ["batch", "sequence", WIDTH]
    if labels:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "two"], ["inside"]),
            helper.make_node("Mul", ["states", "inside"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "one"], ["summed"], keepdims=0),
            helper.make_node("MatMul", ["summed", "head"], ["logits"]),
        ]
        name, shape = "logits", ["batch", labels]
    if output == "sentence_embedding":
        nodes[-1] = helper.make_node("Tanh", ["changed"], ["states"])
        nodes.append(helper.make_node("ReduceSum", ["states", "one"], [output], keepdims=0))
        shape = ["batch", WIDTH]
    constants: dict[str, Numbers] = {
        "words": tiny.words,
        "types": tiny.types,
        "change": tiny.change,
        "head": tiny.head,
    }
    constants |= {"one": np.array([1]), "two": np.array([2]), "nothing": np.array(0, np.float32)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(each, integers, ["batch", "sequence"]) for each in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
