"""A model that is a folder of ONNX files: its facts, and whether its parts fit together.

Two layouts are known: ONNX Runtime GenAI's, which has a `genai_config.json`, and Hugging Face's for encoders (a `config.json`
beside `model.onnx`). Files are those that were handed in, by their names in the folder; nothing else is ever opened.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hutch.core.errors import BadInput, FormatError
from hutch.formats import (
    encoder_config,
    folder_names,
    genai_config,
    onnx,
    onnx_decoder,
    onnx_runner,
    onnx_tensor,
    onnx_weights,
    pooling_config,
    processor_config,
    tokenizer_files,
)
from hutch.formats.encoder_config import EncoderConfig
from hutch.formats.genai_config import GenAIConfig
from hutch.formats.gguf import shown_count
from hutch.formats.onnx import ONNX
from hutch.formats.pooling_config import PoolingConfig
from hutch.formats.tokenizer_files import TokenizerFiles

# What else a runtime reads of a folder, where it is there.
SIDE_FILES = (
    *(genai_config.NAME, encoder_config.NAME, tokenizer_files.NAME, tokenizer_files.CONFIG_NAME),
    *(tokenizer_files.TEMPLATE_NAME, "chat_template.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "generation_config.json"),
    *("preprocessor_config.json", "processor_config.json", "modules.json", "sentence_bert_config.json"),
    *("config_sentence_transformers.json", "1_Pooling/config.json", "inference_model.json"),
)
_HINT = "Give the whole folder as it was published."


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """The facts of a folder. `names` are the files of it that a runtime needs; `graphs` is empty where they were not kept.

    `config` is None for an encoder, `encoder` for all others.
    """

    names: tuple[str, ...]
    size_bytes: int
    parameter_count: int
    file_type: str
    tokenizer: TokenizerFiles
    config: GenAIConfig | None
    encoder: EncoderConfig | None
    graphs: Mapping[str, ONNX]
    kv_element_bytes: int | None
    pooling: PoolingConfig | None = None  # of an encoder
    own_runner_problem: str = ""  # why Hutch's own runner cannot run it
    sees: bool = False  # images

    @property
    def architecture(self) -> str:
        """The model's family, such as llama or bert."""
        said = self.config or self.encoder
        return said.type if said else ""

    @property
    def parameter_size(self) -> str:
        """The parameter count as Ollama prints it."""
        return shown_count(self.parameter_count)

    @property
    def context_length(self) -> int | None:
        """The longest context that the model was trained for, in tokens."""
        if self.config is not None:
            return self.config.context_length
        lengths = [self.encoder.context_length if self.encoder else None, self.tokenizer.max_length]
        lengths.append(self.pooling.max_tokens if self.pooling else None)
        return min((length for length in lengths if length), default=None)

    @property
    def embedding_length(self) -> int | None:
        """The width of the model."""
        if self.encoder is not None:
            return self.encoder.hidden_size
        decoder = self.config and self.config.decoder
        return decoder.hidden_size if decoder else None

    @property
    def block_count(self) -> int | None:
        """The number of layers."""
        if self.encoder is not None:
            return self.encoder.num_layers
        decoder = self.config and self.config.decoder
        return decoder.num_layers if decoder else None

    @property
    def is_embedding(self) -> bool:
        """Whether the model turns texts into vectors, and does not write."""
        return self.encoder is not None

    @property
    def can_embed(self) -> bool:
        """Whether it gives vectors when asked."""
        return self.encoder is not None

    @property
    def is_reranker(self) -> bool:
        """Whether the model scores how well a document answers a query."""
        return self.encoder is not None and self.encoder.is_reranker

    @property
    def is_encoder(self) -> bool:
        """Whether it has no key-value cache."""
        return self.encoder is not None

    @property
    def chat_template(self) -> str:
        """The Jinja template for conversations that is in the folder; empty where there is none."""
        return self.tokenizer.chat_template

    @property
    def fim(self) -> tuple[str, str, str] | None:
        """The tokens before prefix, suffix and middle."""
        return self.tokenizer.fim

    def kv_bytes_per_token(self, bytes_per_element: int = 2) -> int:
        """Bytes of key-value cache for each token of context, with numbers of so many bytes."""
        decoder = self.config and self.config.decoder
        if not decoder:
            return 0
        return 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_size * bytes_per_element


def read(files: Mapping[str, Path]) -> OnnxModel:
    """Read and check the folder that these files make. Raises FormatError."""
    config = genai_config.read(files[genai_config.NAME]) if genai_config.NAME in files else None
    encoder = None if config else encoder_config.read(files)
    tokenizer = tokenizer_files.read(files)
    graph_names = [name for name in named(files, config) if name.endswith(".onnx")]
    if not graph_names:
        raise FormatError("the model names no ONNX file", hint=_HINT)
    graphs = {name: onnx.read(needed(files, name), name) for name in graph_names}
    beside = {name: _beside(name, graph, files) for name, graph in graphs.items()}
    kv_element_bytes = None
    if config is not None and config.decoder is not None and config.decoder.filename in graphs:
        kv_element_bytes = onnx_decoder.check(config, graphs[config.decoder.filename])
    if encoder is not None:
        encoder_config.check(graphs[graph_names[0]], graph_names[0])
    weights = onnx_weights.count(graphs.values())
    names = [*graph_names, *(each for some in beside.values() for each in some)]
    for name in (processor_config.NAME, *named(files, config)):
        if config is not None and name.endswith(".json") and name in files:
            processor_config.check(files[name], name)
    pooling = pooling_config.read(files) if encoder else None
    names += pooling.names if pooling else ()
    names += [*named(files, config), *(name for name in SIDE_FILES if name in files)]
    kept = tuple(dict.fromkeys(names))
    folder_names.check_all(kept)
    return OnnxModel(
        names=kept,
        size_bytes=sum(needed(files, name).stat().st_size for name in kept),
        parameter_count=weights.num_parameters,
        file_type=weights.file_type,
        tokenizer=tokenizer,
        config=config,
        encoder=encoder,
        pooling=pooling,
        graphs=graphs,
        kv_element_bytes=kv_element_bytes,
        own_runner_problem=onnx_runner.problem(config, graphs) if config else "",
        sees=config is not None and config.image_words is not None,
    )


def is_folder(names: Iterable[str]) -> bool:
    """Whether files of these names are meant to be a model in ONNX."""
    known = set(names)
    return genai_config.NAME in known or any(name.endswith(".onnx") for name in known)


def named(files: Mapping[str, Path], config: GenAIConfig | None) -> tuple[str, ...]:
    """The files that the configuration names; of an encoder, its graph."""
    if config is not None:
        return config.filenames
    return (encoder_config.graph_name(files),)


def data_names(name: str, graph: ONNX) -> tuple[str, ...]:
    """The files with a graph's tensors, by their names in the folder. `name` is the graph's own."""
    folder = PurePosixPath(name).parent
    return tuple(sorted((folder / location).as_posix() for location in graph.locations))


def needed(files: Mapping[str, Path], name: str) -> Path:
    """A file of the folder. Raises FormatError where it is not there."""
    if name not in files:
        raise FormatError(f"the model's {name} is missing", hint=_HINT)
    return files[name]


def _beside(name: str, graph: ONNX, files: Mapping[str, Path]) -> tuple[str, ...]:
    """The files with a graph's tensors, in which these are found to lie as they must."""
    folder = PurePosixPath(name).parent
    sizes = {}
    for location in graph.locations:
        path = files.get((folder / location).as_posix())
        if path is not None:
            sizes[location] = path.stat().st_size
    try:
        onnx_tensor.check_places(graph.tensors, sizes)
    except BadInput as error:
        raise FormatError(f"{name}: {error.message}", hint=error.hint) from error
    return data_names(name, graph)
