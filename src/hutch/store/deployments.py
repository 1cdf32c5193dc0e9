"""The deployments of this machine: a file for each port in `deployments` of HUTCH_HOME, with the one before it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hutch import files, places
from hutch.core.deployment import Deployment
from hutch.core.errors import BadInput, FormatError
from hutch.core.names import ModelName
from hutch.formats import deployment as form
from hutch.store import layout

_MAX_BYTES = 4 << 20


class Recorded(NamedTuple):
    """A deployment as it was applied. `variant` is what is loaded in the model's place."""

    deployment: Deployment
    variant: ModelName | None
    applied_at: str

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "document": form.document_of(self.deployment),
            "variant": self.variant.short if self.variant else None,
            "applied_at": self.applied_at,
        }


class Record(NamedTuple):
    """What serves a port, and what served it before."""

    now: Recorded
    before: Recorded | None

    @property
    def port(self) -> int:
        """The port."""
        return self.now.deployment.port


def folder() -> Path:
    """Where they lie."""
    return places.home() / "deployments"


def read_all() -> list[Record]:
    """All of them, by port. Raises FormatError where one is damaged."""
    found = [_read(path) for path in folder().glob("*.json")]
    return sorted(found, key=lambda record: record.port)


def find(port: int) -> Record | None:
    """The one of a port. Raises FormatError."""
    path = _path(port)
    return _read(path) if path.is_file() else None


def keep(record: Record) -> None:
    """Write one down."""
    path = _path(record.port)
    told = record.now.as_json() | {"before": record.before.as_json() if record.before else None}
    files.write_whole(
        path, json.dumps(told, indent=2).encode(), path.with_name(f".{path.name}.{os.getpid()}"), 0o600
    )


def forget(port: int) -> None:
    """Take one away."""
    _path(port).unlink(missing_ok=True)


def _path(port: int) -> Path:
    return folder() / f"{port}.json"


def _read(path: Path) -> Record:
    hint = f"Remove {path}, and deploy again."
    try:
        told = json.loads(layout.read_bounded(path, _MAX_BYTES))
        before = told.get("before")
        return Record(_recorded(told), _recorded(before) if before else None)
    except BadInput as error:
        raise FormatError(f"{path}: {error.message}", hint=hint) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path} is damaged", hint=hint) from error


def _recorded(told: Mapping[str, Any]) -> Recorded:
    variant = told["variant"]
    return Recorded(
        form.parse(told["document"]),
        ModelName.parse(variant) if variant else None,
        str(told["applied_at"]),
    )
