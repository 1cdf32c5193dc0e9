"""BERT as a folder for ONNX Runtime: an encoder's float weights, from a GGUF file or a folder of safetensors."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats import bert, bert_graph, bert_tokenizer, gguf
from hutch.formats.bert_graph import INPUTS, OUTPUT
from hutch.formats.gguf import GGUF
from hutch.formats.pooling_config import PoolingConfig
from hutch.store import layout
from hutch.store.conversion import architectures

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
_MODES = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
_FILES = ("config.json", TOKENIZER, "1_Pooling/config.json", "sentence_bert_config.json")
_MAX_JSON_BYTES = 64 << 20


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
    config = bert.config(facts)
    graph = bert_graph.graph(source, facts).model(INPUTS, OUTPUT, config.width, with_weights=True)
    documents = _documents(facts, config, max_tokens)
    out.mkdir(parents=True, exist_ok=False)
    (out / MODEL).write_bytes(graph)
    for name, document in documents.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _documents(facts: GGUF, pooled: PoolingConfig, max_tokens: int | None) -> dict[str, Any]:
    """The JSON files beside the graph."""
    metadata = facts.metadata
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
    pooling |= {f"pooling_mode_{name}": mode == pooled.pooling for mode, name in _MODES.items()}
    longest = min(max_tokens or pooled.max_tokens, pooled.max_tokens)
    return {
        "config.json": config,
        TOKENIZER: bert_tokenizer.document(metadata),
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
    }
