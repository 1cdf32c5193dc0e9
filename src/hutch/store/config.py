"""The config blob of a model: what a listing tells about it, without a look at the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hutch.core.errors import FormatError
from hutch.core.models import Details
from hutch.store import layout
from hutch.store.manifests import Manifest

MAX_CONFIG_BYTES = 1 << 20


def read(root: Path, manifest: Manifest) -> dict[str, Any]:
    """The config of a model as it stands. Raises FormatError."""
    path = layout.blob_path(root, manifest.config.digest)
    try:
        document = json.loads(layout.read_bounded(path, MAX_CONFIG_BYTES))
    except OSError as problem:
        raise FormatError(f"{path}: {problem.strerror}", hint="Pull or create the model again.") from problem
    except (ValueError, RecursionError):
        raise FormatError(f"{path}: not valid JSON") from None
    if not isinstance(document, dict):
        raise FormatError(f"{path}: a config is a JSON object")
    return document


def details(config: Mapping[str, Any], manifest: Manifest) -> Details:
    """What a listing tells. Whatever is not text is left out."""
    families = config.get("model_families") or ()
    parents = [layer.origin for layer in manifest.of_kind("model")]
    return Details(
        format=_text(config, "model_format"),
        family=_text(config, "model_family"),
        families=tuple(each for each in families if isinstance(each, str))
        if isinstance(families, list)
        else (),
        parameter_size=_text(config, "model_type"),
        quantization_level=_text(config, "file_type"),
        parent_model=parents[0] if parents else "",
    )


def render(said: Mapping[str, Any], digests: tuple[str, ...]) -> bytes:
    """A config's bytes: what is said about the model, and the layers that it has."""
    fixed = {"architecture": "amd64", "os": "linux"}  # Ollama's constants; they say nothing about the machine
    document = {**said, **fixed, "rootfs": {"type": "layers", "diff_ids": list(digests)}}
    return json.dumps(document, separators=(",", ":")).encode()


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    return value if isinstance(value, str) else ""
