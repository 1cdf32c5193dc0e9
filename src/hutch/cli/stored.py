"""The table of models without a server. Imports little, so that `hutch list` starts at once."""

from collections.abc import Sequence
from typing import Any

from hutch import places
from hutch.cli import plain
from hutch.core import listing as words
from hutch.core.models import StoredModel
from hutch.store import listing


def tags() -> dict[str, Any]:
    """What `/api/tags` would tell, but what the models can do: that stands in their files."""
    return words.tags_json(models())


def models() -> Sequence[StoredModel]:
    """The models, newest first; manifests that cannot be read are named on stderr."""
    found = listing.read(places.models())
    for problem in found.broken:
        plain.err(f"Warning: {problem.message}")
    return found.models
