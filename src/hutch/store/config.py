"""The config blob of a model: what a listing tells about it, without a look at the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hutch.core.errors import BadInput, FormatError
from hutch.core.models import Details
from hutch.store import layout
from hutch.store.manifests import ONNX_TYPE, Manifest

MAX_CONFIG_BYTES = 1 << 20
_MAX_INFO_CHARS = 256
_INFO = {  # the fields of `info` in `/api/create`, and what the config calls them
    "capabilities": (list, "capabilities"),
    "model_family": (str, "model_family"),
    "base_name": (str, "base_name"),
    "quantization_level": (str, "file_type"),
    "parameter_size": (str, "model_type"),
    "context_length": (int, "context_length"),
    "embedding_length": (int, "embedding_length"),
}


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
    parents = [layer.origin for kind in ("model", ONNX_TYPE) for layer in manifest.of_kind(kind)]
    return Details(
        format=text(config, "model_format"),
        family=text(config, "model_family"),
        families=tuple(each for each in families if isinstance(each, str))
        if isinstance(families, list)
        else (),
        parameter_size=text(config, "model_type"),
        quantization_level=text(config, "file_type"),
        parent_model=parents[0] if parents else "",
    )


def render(said: Mapping[str, Any], digests: tuple[str, ...]) -> bytes:
    """A config's bytes: what is said about the model, and the layers that it has."""
    fixed = {"architecture": "amd64", "os": "linux"}  # Ollama's constants; they say nothing about the machine
    document = {**said, **fixed, "rootfs": {"type": "layers", "diff_ids": list(digests)}}
    return json.dumps(document, separators=(",", ":")).encode()


def check_info(info: Mapping[str, Any]) -> None:
    """Raise BadInput for what `info` may not say."""
    words = {list: "a list of texts", str: "a text", int: "a whole number"}
    for name, value in info.items():
        if name not in _INFO:
            raise BadInput(
                f"info.{name[:64]} is not known", hint=f"Known are: {', '.join(_INFO)}.", param="info"
            )
        kind = _INFO[name][0]
        texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        is_right = type(value) is kind and all(isinstance(each, str) for each in texts)
        if not is_right or len(texts) > _MAX_INFO_CHARS or any(len(each) > _MAX_INFO_CHARS for each in texts):
            raise BadInput(f"info.{name} must be {words[kind]}, and short", param="info")


def from_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the config says for a checked `info`."""
    return {_INFO[name][1]: value for name, value in info.items()}


def text(config: Mapping[str, Any], key: str) -> str:
    """What a config says; empty where that is not text."""
    value = config.get(key)
    return value if isinstance(value, str) else ""
