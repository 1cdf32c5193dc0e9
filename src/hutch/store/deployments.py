"""The deployments of this machine: a file for each port in `deployments` of HUTCH_HOME, with the one before it."""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hutch import files, places
from hutch.core.deployment import Deployment
from hutch.core.errors import BadInput, Damaged
from hutch.core.names import ModelName
from hutch.formats import deployment as form
from hutch.store import layout

_log = logging.getLogger(__name__)
_MAX_BYTES = 4 << 20
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class Recorded(NamedTuple):
    """A deployment as it was applied. `variant` is what is loaded in the model's place."""

    deployment: Deployment
    variant: ModelName | None
    applied_at: str

    @property
    def port(self) -> int:
        """The port."""
        return self.deployment.port

    @property
    def loads(self) -> ModelName:
        """What is loaded for it."""
        return self.variant or self.deployment.model

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
        return self.now.port


def folder() -> Path:
    """Where they lie."""
    return places.home() / "deployments"


def read_all() -> dict[int, Record | Damaged]:
    """All of them, by port; of one that is damaged, what is wrong with it."""
    ports = sorted(int(path.stem) for path in folder().glob("*.json") if _PORT.fullmatch(path.stem))
    return {port: found for port in ports if (found := _found(port)) is not None}


def row(
    port: int, recorded: Recorded | None, record: Record | None, state: str, problem: str
) -> dict[str, Any]:
    """What is told of a deployment; without `recorded` of one that cannot be read."""
    unknown = {"document": None, "variant": None, "applied_at": ""}
    return (
        {"port": port, "model": recorded.deployment.model.short if recorded else "", "state": state}
        | (recorded.as_json() if recorded else unknown)
        | {"problem": problem, "before": record.before.as_json() if record and record.before else None}
    )


def is_kept(port: int) -> bool:
    """Whether there is one of this port, be it damaged or not."""
    return _path(port).is_file()


def find(port: int) -> Record | None:
    """The one of a port. Raises Damaged."""
    path = _path(port)
    return _read(path) if path.is_file() else None


def supersede(recorded: Recorded) -> None:
    """Write down what serves a port now, with what did before: where that says the same, with what it had replaced.

    Raises OSError. One that is damaged is replaced.
    """
    old = _found(recorded.port)
    before = None
    if isinstance(old, Record):
        before = old.before if old.now[:2] == recorded[:2] else old.now
    elif old is not None:
        _log.warning("%s, and is replaced", old.message)
    keep(Record(recorded, before))


def keep(record: Record) -> None:
    """Write one down. Raises OSError."""
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


def _found(port: int) -> Record | Damaged | None:
    try:
        return find(port)
    except Damaged as error:
        return error


def _read(path: Path) -> Record:
    hint = f"Deploy again there, or write `hutch deploy remove {path.stem}`."
    try:
        told = json.loads(layout.read_bounded(path, _MAX_BYTES))
        before = told.get("before")
        record = Record(_recorded(told), _recorded(before) if before else None)
    except BadInput as error:
        raise Damaged(f"{path}: {error.message}", hint=hint) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged", hint=hint) from error
    if path != _path(record.port):
        raise Damaged(f"{path} is damaged: it is of port {record.port}", hint=hint)
    return record


def _recorded(told: Mapping[str, Any]) -> Recorded:
    variant = told["variant"]
    return Recorded(
        form.parse(told["document"]),
        ModelName.parse(variant) if variant else None,
        str(told["applied_at"]),
    )
