"""BERT as an ONNX graph: an encoder's float weights, from a GGUF file or a folder of safetensors, into a folder for ONNX Runtime.

The graph is of ONNX Runtime's own fused operators (`com.microsoft`): one node for the attention of a layer, one for each
sum with its normalisation. It takes batches of any size and length, and leaves pooling to who runs it.
"""

import importlib
import importlib.util
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hutch.core.errors import BadInput, FormatError, NotBuilt
from hutch.formats import ggml_numbers, gguf
from hutch.formats.ggml_numbers import Floats
from hutch.formats.gguf import GGUF
from hutch.formats.gguf_source import shown
from hutch.store import layout
from hutch.store.conversion import architectures

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
_OPSET, _MICROSOFT = 17, "com.microsoft"
_FLOATS = ("F32", "F16", "BF16")
_POOLING = {1: "mean", 2: "cls", 3: "lasttoken"}
_MODES = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
_SPACE = "\u2581"  # the begin of a word in a GGUF vocabulary
_CONTROL, _UNUSED = 3, 5  # types of tokens
_FILES = ("config.json", TOKENIZER, "1_Pooling/config.json", "sentence_bert_config.json")
_MAX_JSON_BYTES = 64 << 20
_EXTRA = "pip install 'hutch[optimize]'"


def bert_to_onnx(source: Path, out: Path, max_tokens: int | None = None) -> None:
    """Write the BERT in `source` (a GGUF file, or a folder in Hugging Face's layout) to the new folder `out`.

    `max_tokens` is the longest text to embed, where the source does not say. Raises BadInput, FormatError or NotBuilt.
    """
    if source.is_dir():
        files = {name: source / name for name in _FILES if (source / name).is_file()}
        files |= {path.name: path for path in source.glob("*.safetensors")}
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "model.gguf"
            with copy.open("wb") as file:
                file.writelines(architectures.converted(files).pieces())
            _write(copy, out, _longest(files, max_tokens))
    else:
        _write(source, out, max_tokens)


def _longest(files: Mapping[str, Path], asked: int | None) -> int | None:
    path = files.get("sentence_bert_config.json")
    try:
        said = json.loads(layout.read_bounded(path, _MAX_JSON_BYTES)) if path else {}
    except (ValueError, RecursionError):
        raise FormatError("sentence_bert_config.json: not valid JSON") from None
    found = said.get("max_seq_length") if isinstance(said, dict) else None
    return found if asked is None and type(found) is int and found > 0 else asked


def _write(source: Path, out: Path, max_tokens: int | None) -> None:
    facts = gguf.read(source)
    if facts.architecture != "bert" or facts.metadata.get("tokenizer.ggml.model") != "bert":
        raise NotBuilt(
            f"an encoder of architecture {shown(facts.architecture)} cannot be made into ONNX",
            hint="What can be is BERT with WordPiece. Export others with Optimum, and give the folder.",
        )
    onnx = _library()
    graph = _Graph(onnx, _Weights(source, facts), facts).model().SerializeToString()
    documents = _documents(facts, max_tokens)
    out.mkdir(parents=True, exist_ok=False)
    (out / MODEL).write_bytes(graph)
    for name, document in documents.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _library() -> ModuleType:
    if importlib.util.find_spec("onnx") is None:  # of the extra: only who converts needs it
        raise BadInput("making ONNX models needs the package `onnx`", hint=f"Install it: {_EXTRA}")
    return importlib.import_module("onnx")


class _Weights:
    """The tensors of a GGUF file as float matrices, by name."""

    def __init__(self, path: Path, facts: GGUF) -> None:
        self._path, self._start = path, facts.data_start
        self._tensors = {tensor.name: tensor for tensor in facts.tensors}

    def __call__(self, name: str, *shape: int) -> Floats:
        """A tensor of this shape, the row's length last. Raises FormatError or NotBuilt."""
        tensor = self._tensors.get(name)
        if tensor is None:
            raise FormatError(f"the model has no tensor {name}")
        if tensor.shape != tuple(reversed(shape)):
            raise FormatError(f"tensor {name} has the shape {tensor.shape[::-1]}; {shape} is needed")
        if tensor.type_name not in _FLOATS:
            raise NotBuilt(
                f"tensor {name} is of type {tensor.type_name}; only {', '.join(_FLOATS)} can be converted",
                hint="Begin with the model as it was published, and quantise what comes out.",
            )
        with gguf.open_regular(self._path) as file:
            file.seek(self._start + tensor.offset)
            data = file.read(tensor.size_bytes)
        if len(data) != tensor.size_bytes:
            raise FormatError(f"{self._path} shrank while it was read", hint="Try again.")
        return ggml_numbers.decode(tensor.type_name, data).reshape(shape)


class _Graph:
    """The graph while it grows: nodes, and the weights that they name."""

    def __init__(self, onnx: ModuleType, weights: _Weights, facts: GGUF) -> None:
        self._onnx: Any = onnx
        self._weights = weights
        self._facts = facts
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []

    def model(self) -> Any:
        """The whole of it as an `onnx.ModelProto`."""
        helper, numbers = self._onnx.helper, self._onnx.TensorProto
        width = self._number("embedding_length")
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = [helper.make_tensor_value_info(name, numbers.INT64, ["batch", "sequence"]) for name in names]
        for name in names:
            self._node("Cast", [name], f"{name}_32", "", to=numbers.INT32)
        hidden = self._embeddings(width)
        for layer in range(self._number("block_count")):
            hidden = self._layer(f"blk.{layer}.", hidden, width)
        self._node("Identity", [hidden], "last_hidden_state", "")
        output = helper.make_tensor_value_info(
            "last_hidden_state", numbers.FLOAT, ["batch", "sequence", width]
        )
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], self._initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="hutch")

    def _embeddings(self, width: int) -> str:
        tables = {
            "token_embd.weight": len(self._facts.metadata["tokenizer.ggml.tokens"]),
            "position_embd.weight": self._number("context_length"),
            "token_types.weight": self._facts.metadata.get("tokenizer.ggml.token_type_count", 2),
        }
        named = [self._weight(name, rows, width) for name, rows in tables.items()]
        norm = [self._weight(f"token_embd_norm.{part}", width) for part in ("weight", "bias")]
        return self._node(
            "EmbedLayerNormalization",
            ["input_ids_32", "token_type_ids_32", *named, *norm],
            "embedded",
            epsilon=self._epsilon,
        )

    def _layer(self, prefix: str, hidden: str, width: int) -> str:
        inner = self._number("feed_forward_length")
        attention = [
            [self._weights(f"{prefix}attn_{each}.{part}", *shape).T for each in "qkv"]
            for part, shape in (("weight", (width, width)), ("bias", (width,)))
        ]
        joined = [
            self._initializer(f"{prefix}attn_qkv.{part}", np.concatenate(three, axis=-1))
            for part, three in zip(("weight", "bias"), attention, strict=True)
        ]
        seen = self._node(
            "Attention",
            [hidden, *joined, "attention_mask_32"],
            f"{prefix}attended",
            num_heads=self._number("attention.head_count"),
        )
        seen = self._product(prefix + "attn_output", seen, width, width)
        hidden = self._normed(prefix + "attn_output_norm", seen, hidden, prefix + "attn_output.bias", width)
        up = self._product(prefix + "ffn_up", hidden, inner, width)
        bias = self._weight(f"{prefix}ffn_up.bias", inner)
        grown = self._node("BiasGelu", [up, bias], f"{prefix}gelu")
        down = self._product(prefix + "ffn_down", grown, width, inner)
        return self._normed(prefix + "layer_output_norm", down, hidden, prefix + "ffn_down.bias", width)

    def _product(self, name: str, of: str, rows: int, columns: int) -> str:
        weight = self._initializer(f"{name}.weight", self._weights(f"{name}.weight", rows, columns).T)
        return self._node("MatMul", [of, weight], f"{name}.product", "")

    def _normed(self, name: str, what: str, skip: str, bias: str, width: int) -> str:
        scale, shift = (self._weight(f"{name}.{part}", width) for part in ("weight", "bias"))
        inputs = [what, skip, scale, shift, self._weight(bias, width)]
        return self._node("SkipLayerNormalization", inputs, f"{name}.out", epsilon=self._epsilon)

    def _weight(self, name: str, *shape: int) -> str:
        return self._initializer(name, self._weights(name, *shape))

    def _initializer(self, name: str, values: Floats) -> str:
        self._initializers.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(
        self, kind: str, inputs: Sequence[str], output: str, domain: str = _MICROSOFT, **attributes: Any
    ) -> str:
        outputs = [output, ""] if kind == "EmbedLayerNormalization" else [output]
        node = self._onnx.helper.make_node(kind, inputs, outputs, name=output, domain=domain, **attributes)
        self._nodes.append(node)
        return output

    @property
    def _epsilon(self) -> float:
        return float(self._facts.metadata.get("bert.attention.layer_norm_epsilon", 1e-12))

    def _number(self, key: str) -> int:
        value = self._facts.metadata.get(f"bert.{key}")
        if type(value) is not int or value < 1:
            raise FormatError(f"bert.{key} is {shown(value)}; a positive integer is needed")
        return value


def _documents(facts: GGUF, max_tokens: int | None) -> dict[str, Any]:
    """The JSON files beside the graph."""
    metadata = facts.metadata
    mode = _POOLING.get(metadata.get("bert.pooling_type", 1))
    if mode is None:
        raise NotBuilt(f"bert.pooling_type {metadata['bert.pooling_type']} cannot be made into ONNX")
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": facts.embedding_length,
        "num_hidden_layers": facts.block_count,
        "num_attention_heads": metadata.get("bert.attention.head_count"),
        "intermediate_size": metadata.get("bert.feed_forward_length"),
        "max_position_embeddings": facts.context_length,
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "type_vocab_size": metadata.get("tokenizer.ggml.token_type_count", 2),
        "hidden_act": "gelu",
    }
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    pooling: dict[str, Any] = {"word_embedding_dimension": facts.embedding_length}
    pooling |= {f"pooling_mode_{each}": each.startswith(mode) for each in _MODES}
    longest = min(max_tokens or 1 << 24, facts.context_length or 1 << 24)
    return {
        "config.json": config,
        TOKENIZER: _tokenizer(metadata),
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
    }


def _tokenizer(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """WordPiece as Hugging Face's `tokenizers` reads it."""
    tokens: Sequence[str] = metadata["tokenizer.ggml.tokens"]
    types = metadata.get("tokenizer.ggml.token_type") or (1,) * len(tokens)
    special = {
        index: text for index, (text, kind) in enumerate(zip(tokens, types, strict=True)) if kind == _CONTROL
    }
    vocabulary = {
        text if index in special else _spelt(text, kind): index
        for index, (text, kind) in enumerate(zip(tokens, types, strict=True))
    }
    first, last, unknown = (
        tokens[metadata.get(f"tokenizer.ggml.{name}_token_id", default)]
        for name, default in (("bos", 101), ("seperator", 102), ("unknown", 100))  # llama.cpp's own defaults
    )

    def opened(*parts: tuple[str, int]) -> list[dict[str, Any]]:
        return [
            {"Sequence" if text in "AB" else "SpecialToken": {"id": text, "type_id": kind}}
            for text, kind in parts
        ]

    one = ((first, 0), ("A", 0), (last, 0))
    marks = {text: {"id": text, "ids": [vocabulary[text]], "tokens": [text]} for text in (first, last)}
    added = [
        {"id": index, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for index, text in special.items()
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
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
            "single": opened(*one),
            "pair": opened(*one, ("B", 1), (last, 1)),
            "special_tokens": marks,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def _spelt(text: str, kind: int) -> str:
    """A GGUF token as WordPiece writes it: the begin of a word is bare there, what goes on begins with ##."""
    if kind == _UNUSED:
        return text
    return text[1:] if text.startswith(_SPACE) else f"##{text}"
