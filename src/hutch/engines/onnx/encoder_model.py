"""What an encoder is made of, wherever it comes from: a folder in ONNX, or a BERT in a GGUF file, whose graph is made here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from hutch.engines.onnx import text
from hutch.formats import (
    bert,
    bert_graph,
    bert_tokenizer,
    encoder_config,
    gguf,
    pooling_config,
    tokenizer_files,
)
from hutch.formats.bert_graph import INPUTS, OUTPUT
from hutch.formats.ggml_numbers import Floats
from hutch.formats.pooling_config import PoolingConfig


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """An encoder that is still to be loaded. `graph` is a file, or what would be in one; `num_tokens` its vocabulary.

    `weights` are those that the graph leaves out, `files` those that the configuration names.
    """

    config: PoolingConfig
    tokenizer: Tokenizer
    num_tokens: int
    graph: Path | bytes
    weights: Mapping[str, Floats] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


def of_folder(folder: Path) -> EncoderModel:
    """The encoder that lies in a folder. Raises FormatError or NotBuilt."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return EncoderModel(
        pooling_config.read(files),
        text.read_tokenizer(folder / tokenizer_files.NAME),
        tokenizer_files.read(files).num_tokens,
        files[encoder_config.graph_name(files)],
        files=files,
    )


def of_gguf(path: Path) -> EncoderModel:
    """The BERT in a GGUF file. Its weights become floats of 32 bits, in memory alone. Raises FormatError or NotBuilt."""
    facts = gguf.read(path)
    config = bert.config(facts)
    tokenizer = json.dumps(bert_tokenizer.document(facts.metadata)).encode()
    graph = bert_graph.graph(path, facts)
    return EncoderModel(
        config,
        text.tokenizer_of(tokenizer, path.name),
        len(facts.metadata["tokenizer.ggml.tokens"]),
        graph.model(INPUTS, OUTPUT, config.width, with_weights=False),
        graph.weights,
    )
