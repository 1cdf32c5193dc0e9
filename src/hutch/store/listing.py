"""The list of stored models. Imports little: `hutch list` must start at once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hutch.core.errors import FormatError
from hutch.core.models import StoredModel
from hutch.core.names import ModelName
from hutch.store import config, layout, manifests
from hutch.store.manifests import Manifest


class Listing(NamedTuple):
    """The models that can be told about, newest first, and what is wrong with the others."""

    models: list[StoredModel]
    broken: list[FormatError]


def read(root: Path) -> Listing:
    """Read every manifest. One that is broken is reported and spoils nothing."""
    models: list[StoredModel] = []
    broken: list[FormatError] = []
    for name in manifests.names(root):
        try:
            models.append(stored(root, name, manifests.read(root, name)))
        except FormatError as problem:
            broken.append(problem)
    models.sort(key=lambda model: (-model.modified_at.timestamp(), model.name))
    return Listing(models, broken)


def stored(root: Path, name: ModelName, manifest: Manifest) -> StoredModel:
    """One line of the list."""
    details = config.details(config.read(root, manifest), manifest)
    path = layout.manifest_path(root, name)
    try:
        modified_s = path.stat().st_mtime
    except OSError as problem:  # removed since it was read
        raise FormatError(f"{path}: {problem.strerror}") from problem
    modified_at = datetime.fromtimestamp(modified_s, UTC)
    return StoredModel(name, manifest.digest, manifest.size_bytes, modified_at, details)
