"""Whether the version of Ollama's API that Hutch speaks is enough for a model."""

import re

from hutch import OLLAMA_VERSION
from hutch.core.errors import BadInput

_SEMVER = re.compile(r"v?(\d{1,9})(?:\.(\d{1,9})(?:\.(\d{1,9})(?:[-+][0-9A-Za-z.+-]{1,64})?)?)?")


def check_requires(text: str) -> None:
    """Raise BadInput where a model's REQUIRES is no version, or one that Hutch does not reach."""
    if _numbers(text) > _numbers(OLLAMA_VERSION):
        raise BadInput(
            f"requires version {text} of Ollama's API, and this Hutch speaks {OLLAMA_VERSION}",
            hint="Update Hutch, or use a model that requires less.",
            param="requires",
        )


def _numbers(text: str) -> tuple[int, ...]:
    found = _SEMVER.fullmatch(text)
    if found is None:
        raise BadInput("requires must be a valid semver (e.g. 0.14.0)", param="requires")
    return tuple(int(part or 0) for part in found.groups())
