"""Models as the store knows them, and the progress of long work on them."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hutch.core.names import ModelName


# NamedTuples and not dataclasses: `hutch list` must start before `import dataclasses` would be done.
class Details(NamedTuple):
    """What a listing tells about a model, in Ollama's words."""

    format: str = ""
    family: str = ""
    families: tuple[str, ...] = ()
    parameter_size: str = ""
    quantization_level: str = ""
    parent_model: str = ""


class StoredModel(NamedTuple):
    """One line of a listing. `digest` is the SHA-256 of the manifest's bytes, 64 hex digits."""

    name: ModelName
    digest: str
    size_bytes: int
    modified_at: datetime
    details: Details


class Document(NamedTuple):
    """A document that a model knows. `path` is where its text lies."""

    name: str
    path: Path
    text: str


class ModelFile(NamedTuple):
    """A file of a model that is a folder. `name` is relative to that folder, with `/`; `path` is where its bytes lie."""

    name: str
    path: Path


class Model(NamedTuple):
    """A model opened for use: everything that its layers say, and where its weights lie.

    `weights` are the GGUF files of the model layers; an ONNX model has `files` and no weights. `parameters` are
    Ollama option names.
    """

    stored: StoredModel
    weights: tuple[Path, ...]
    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = MappingProxyType({})
    messages: tuple[Mapping[str, str], ...] = ()
    licenses: tuple[str, ...] = ()
    adapters: tuple[Path, ...] = ()  # LoRA, laid over the weights
    projectors: tuple[Path, ...] = ()  # what turns images into what the weights understand
    drafts: tuple[Path, ...] = ()  # a small model that guesses ahead
    documents: tuple[Document, ...] = ()
    files: tuple[ModelFile, ...] = ()
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    unsupported_layers: tuple[
        str, ...
    ] = ()  # media types that this Hutch cannot use (documents of a later version …)

    @property
    def name(self) -> ModelName:
        """The name under which the store holds it."""
        return self.stored.name


class Progress(NamedTuple):
    """One report of long work. `digest`, `total` and `completed` (bytes) belong to one blob."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
