"""A stored model opened for use: its small layers read, and its weights found. No weights are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hutch.core.errors import FormatError
from hutch.core.models import Model, ModelFile, StoredModel
from hutch.formats import folder_names
from hutch.store import config, documents
from hutch.store.blobs import Blobs
from hutch.store.manifests import ONNX_TYPE, Layer, Manifest

MAX_TEXT_BYTES = 4 << 20  # of one template, license, …
_BIG = ("model", "projector", "adapter", "draft")  # GGUF files
_READABLE = frozenset(
    (*_BIG, "template", "system", "params", "messages", "license", documents.DOCUMENT_TYPE, ONNX_TYPE)
)
_HINT = "Pull or create the model again."


def read(blobs: Blobs, stored: StoredModel, manifest: Manifest) -> Model:
    """Open a model. Raises FormatError where a layer is missing or is not what it claims."""
    files = onnx_files(blobs, manifest)
    if not manifest.of_kind("model") and not files:
        raise FormatError(f"model '{stored.name.short}' has no weights in this store", hint=_HINT)
    weights, projectors, adapters, drafts = (_paths(blobs, manifest, kind) for kind in _BIG)
    said = config.read(blobs.root, manifest)
    return Model(
        stored=stored,
        weights=weights,
        projectors=projectors,
        adapters=adapters,
        drafts=drafts,
        documents=documents.read(blobs, manifest),
        files=files,
        renderer=config.text(said, "renderer"),
        parser=config.text(said, "parser"),
        requires=config.text(said, "requires"),
        template=last_text(blobs, manifest, "template"),
        system=last_text(blobs, manifest, "system"),
        parameters=parameters(blobs, manifest),
        messages=messages(blobs, manifest),
        licenses=tuple(text(blobs, layer) for layer in manifest.of_kind("license")),
        unsupported_layers=tuple(
            layer.media_type for layer in manifest.layers if layer.kind not in _READABLE
        ),
    )


def _paths(blobs: Blobs, manifest: Manifest, kind: str) -> tuple[Path, ...]:
    layers = manifest.of_kind(kind)
    for layer in layers:
        if blobs.size_bytes(layer.digest) != layer.size_bytes:
            raise FormatError(f"{blobs.path(layer.digest)} is missing or has another size", hint=_HINT)
    return tuple(blobs.path(layer.digest) for layer in layers)


def onnx_files(blobs: Blobs, manifest: Manifest) -> tuple[ModelFile, ...]:
    """The files of an ONNX model, by their names in its folder. Raises FormatError for a name that leads out of it."""
    layers = manifest.of_kind(ONNX_TYPE)
    folder_names.check_all(layer.name for layer in layers)
    if layers and manifest.of_kind("model"):
        raise FormatError("a model is one GGUF file or one ONNX folder, and not both", hint=_HINT)
    paths = _paths(blobs, manifest, ONNX_TYPE)
    return tuple(ModelFile(layer.name, path) for layer, path in zip(layers, paths, strict=True))


def text(blobs: Blobs, layer: Layer) -> str:
    """A layer's text; bytes that are not UTF-8 are replaced."""
    return blobs.read(layer.digest, MAX_TEXT_BYTES).decode(errors="replace")


def last_text(blobs: Blobs, manifest: Manifest, kind: str) -> str | None:
    """The text of a kind that a model has once; where it has several, the last counts."""
    layers = manifest.of_kind(kind)
    return text(blobs, layers[-1]) if layers else None


def parameters(blobs: Blobs, manifest: Manifest) -> dict[str, Any]:
    """The options that the model comes with."""
    merged: dict[str, Any] = {}
    for layer in manifest.of_kind("params"):
        value = _json(blobs, layer)
        if not isinstance(value, dict):
            raise FormatError(f"{blobs.path(layer.digest)}: parameters are not a JSON object", hint=_HINT)
        merged |= value
    return merged


def messages(blobs: Blobs, manifest: Manifest) -> tuple[Mapping[str, str], ...]:
    """The conversation that the model begins with."""
    found: list[Mapping[str, str]] = []
    for layer in manifest.of_kind("messages"):
        value = _json(blobs, layer)
        if not isinstance(value, list) or not all(_is_message(each) for each in value):
            raise FormatError(f"{blobs.path(layer.digest)}: messages are not a list of them", hint=_HINT)
        found.extend({"role": each["role"], "content": each.get("content", "")} for each in value)
    return tuple(found)


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content", ""), str)
    )


def _json(blobs: Blobs, layer: Layer) -> Any:
    try:
        return json.loads(blobs.read(layer.digest, MAX_TEXT_BYTES))
    except (ValueError, RecursionError):
        raise FormatError(f"{blobs.path(layer.digest)}: not valid JSON", hint=_HINT) from None
