"""The libraries of the extra `hutch[optimize]`, imported in the job's process alone, and named where they are missing."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hutch.core.errors import NotBuilt

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "gguf",
    "safetensors",
    "onnx",
    "onnx-ir",
    "onnxruntime-genai",
)


def needed(module: str) -> Any:
    """A module of one of PACKAGES. Raises NotBuilt that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(error.name or module) from error


def check() -> None:
    """Raise NotBuilt where one of PACKAGES is not installed. Imports none of them."""
    for name in PACKAGES:
        if not versions((name,)):
            raise _missing(name)


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """The versions of those of these packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _missing(name: str) -> NotBuilt:
    return NotBuilt(
        f"optimising a model needs {name}, which is not installed", hint="pip install 'hutch[optimize]'"
    )
