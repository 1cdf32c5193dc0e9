"""The table of models as Ollama's `/api/tags` writes it; the server and the command line share it."""

from collections.abc import Iterable
from typing import Any

from hutch.core.models import Details, StoredModel


def tags_json(models: Iterable[StoredModel]) -> dict[str, Any]:
    """Render models, in the order given."""
    return {
        "models": [
            {
                "name": model.name.short,
                "model": model.name.short,
                "modified_at": model.modified_at.isoformat(),
                "size": model.size_bytes,
                "digest": model.digest,
                "details": details_json(model.details),
            }
            for model in models
        ]
    }


def details_json(details: Details) -> dict[str, Any]:
    """Render what a listing tells about one model."""
    return {
        "parent_model": details.parent_model,
        "format": details.format,
        "family": details.family,
        "families": list(details.families),
        "parameter_size": details.parameter_size,
        "quantization_level": details.quantization_level,
    }
