"""Manifests: which blobs make a model. Read strictly, since they may come from anywhere; written at once or not at all.

Imports little: listings use it.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hutch import files
from hutch.core.errors import BadInput, Forbidden, FormatError
from hutch.core.names import ModelName, parse_digest
from hutch.store import layout

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
OCI_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."  # and model, template, system, license, params, messages …

ONNX_TYPE = "application/vnd.hutch.image.onnx"  # a file of a folder; Ollama passes over it
TITLE = "org.opencontainers.image.title"  # the name of a file, for any client of a registry

MANIFEST_TYPES = ("", MANIFEST_TYPE, OCI_MANIFEST_TYPE)
MAX_MANIFEST_BYTES = 4 << 20
_MAX_LAYERS = 10_000  # models in single tensors have thousands
_MAX_BLOB_BYTES = 1 << 50


class Layer(NamedTuple):
    """One blob of a model, and what it is for. `origin` names the model that the layer was taken from.

    `name` is a document's name, or a file's in the folder of an ONNX model.
    """

    media_type: str
    digest: str
    size_bytes: int
    origin: str = ""
    name: str = ""

    @property
    def kind(self) -> str:
        """The media type's own word: model, template …; the whole type where it is not Ollama's."""
        return self.media_type.removeprefix(LAYER_TYPE)


class Manifest(NamedTuple):
    """The blobs of one model. `digest` is the SHA-256 of the manifest's own bytes, 64 hex digits."""

    digest: str
    config: Layer
    layers: tuple[Layer, ...]

    @property
    def size_bytes(self) -> int:
        """What the model takes, as Ollama counts it."""
        return self.config.size_bytes + sum(layer.size_bytes for layer in self.layers)

    @property
    def digests(self) -> frozenset[str]:
        """Every blob that the manifest needs."""
        return frozenset((self.config.digest, *(layer.digest for layer in self.layers)))

    def of_kind(self, kind: str) -> tuple[Layer, ...]:
        """The layers of one kind, in order."""
        return tuple(layer for layer in self.layers if layer.kind == kind)


def parse(data: bytes, where: str) -> Manifest:
    """Read a manifest's bytes. Raises FormatError, which says `where` they came from."""
    try:
        return _manifest(data)
    except (BadInput, ValueError, RecursionError) as problem:
        why = problem.message if isinstance(problem, BadInput) else f"not valid JSON ({problem})"
        raise FormatError(f"{where}: {why}", hint="Remove the file, then pull or create the model.") from None


def media_type(data: bytes) -> str:
    """The type that a manifest which can be read says it is of."""
    return json.loads(data).get("mediaType") or MANIFEST_TYPE


def render(config: Layer, layers: tuple[Layer, ...]) -> bytes:
    """Write a manifest's bytes, keys in Ollama's order."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST_TYPE if any(layer.kind == ONNX_TYPE for layer in layers) else MANIFEST_TYPE,
        "config": _layer_json(config),
        "layers": [_layer_json(layer) for layer in layers],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def names(root: Path) -> Iterator[ModelName]:
    """Every name that has a manifest file, readable or not. Files that cannot be names are passed over."""
    for host in _entries(layout.manifests_folder(root)):
        for namespace in _entries(Path(host)):
            for model in _entries(Path(namespace)):
                for tag in _entries(Path(model)):
                    parts = Path(tag).parts[-4:]
                    with contextlib.suppress(BadInput):
                        yield ModelName.parse(f"{parts[0]}/{parts[1]}/{parts[2]}:{parts[3]}")


def find(root: Path, name: ModelName) -> ModelName | None:
    """The stored name that `name` means: itself, or one that differs in case alone."""
    if layout.manifest_path(root, name).is_file():
        return name
    return next((other for other in names(root) if other.same_as(name)), None)


def read_bytes(root: Path, name: ModelName) -> bytes:
    """The bytes of a stored name's manifest. Raises FormatError where they cannot be read."""
    path = layout.manifest_path(root, name)
    try:
        return layout.read_bounded(path, MAX_MANIFEST_BYTES)
    except OSError as problem:
        raise FormatError(f"{path}: {problem.strerror}") from problem


def read(root: Path, name: ModelName) -> Manifest:
    """The manifest of a stored name. Raises FormatError where it cannot be read."""
    return parse(read_bytes(root, name), str(layout.manifest_path(root, name)))


def write(root: Path, name: ModelName, data: bytes) -> None:
    """Let a name stand for a manifest. The caller holds the lock and has every blob in place."""
    temporary = layout.manifests_folder(root) / f".{layout.temporary_name()}"
    files.write_whole(layout.manifest_path(root, name), data, temporary, 0o644)  # a team shares the folder


def remove(root: Path, name: ModelName) -> None:
    """Remove a stored name, and the folders that this leaves empty."""
    path = layout.manifest_path(root, name)
    path.unlink()
    files.sync_folder(path.parent)
    for folder in list(path.parents)[:3]:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _entries(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as problem:
        raise Forbidden(
            f"cannot read {folder}: {problem.strerror}", hint="Choose a folder of your own with HUTCH_MODELS."
        ) from problem


def _manifest(data: bytes) -> Manifest:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise FormatError("a manifest is a JSON object")
    if document.get("schemaVersion") != 2 or document.get("mediaType", "") not in MANIFEST_TYPES:
        raise FormatError("not a manifest of version 2")
    layers = document.get("layers")
    layers = [] if layers is None else layers  # Go writes null where there are none
    if not isinstance(layers, list) or len(layers) > _MAX_LAYERS:
        raise FormatError(f"layers is not a list of at most {_MAX_LAYERS}")
    parsed = tuple(_layer(layer, f"layer {number}") for number, layer in enumerate(layers, 1))
    sizes: dict[str, int] = {}
    for layer in parsed:
        if sizes.setdefault(layer.digest, layer.size_bytes) != layer.size_bytes:
            raise FormatError(f"{layer.digest} has two sizes")
    config = _layer(document.get("config"), "config")
    return Manifest(hashlib.sha256(data).hexdigest(), config, parsed)


def _layer(value: Any, where: str) -> Layer:
    if not isinstance(value, dict):
        raise FormatError(f"{where} is not a JSON object")
    texts = [value.get(key, "") for key in ("mediaType", "digest", "from", "name")]
    if texts[0] == ONNX_TYPE:
        notes = value.get("annotations")
        texts[3] = notes.get(TITLE, "") if isinstance(notes, dict) else ""
    size_bytes = value.get("size")
    if not all(isinstance(text, str) for text in texts):
        raise FormatError(f"{where} has a key that is not text")
    if type(size_bytes) is not int or not 0 <= size_bytes <= _MAX_BLOB_BYTES:
        raise FormatError(f"{where} has an impossible size")
    try:
        digest = parse_digest(texts[1])
    except BadInput as problem:
        raise FormatError(f"{where}: {problem.message}") from None
    return Layer(texts[0], digest, size_bytes, texts[2], texts[3])


def _layer_json(layer: Layer) -> dict[str, Any]:
    document = {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size_bytes}
    if layer.kind == ONNX_TYPE:
        document["annotations"] = {TITLE: layer.name}
    said = (("from", layer.origin), ("name", "" if layer.kind == ONNX_TYPE else layer.name))
    return document | {key: text for key, text in said if text}
