"""What was found before: a file for each thing that was measured, named by the SHA-256 of what it depends on.

A search that was broken off goes on where it stood, because what it had found is here.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hutch import files
from hutch.core.errors import FormatError

_MAX_BYTES = 16 << 20


def digest(value: object) -> str:
    """The SHA-256 of a value as canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Records:
    """The findings below one folder."""

    def __init__(self, root: Path) -> None:
        self._findings = root / "findings"
        self._searches = root / "searches"

    def known(self, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What was found for these inputs; None where nothing was yet."""
        path = self._findings / f"{digest(inputs)}.json"
        if not path.is_file():
            return None
        found: Mapping[str, Any] = _read(path)["found"]
        return found

    def keep(self, inputs: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Keep what was found for these inputs."""
        said = {"inputs": inputs, "found": found, "at": _now()}
        _write(self._findings / f"{digest(inputs)}.json", said)

    def keep_search(self, report: Mapping[str, Any]) -> Path:
        """Keep a search's report under its own digest, and return its path."""
        said = {**report, "at": _now()}
        path = self._searches / f"{digest(said)}.json"
        _write(path, said)
        return path

    def searches(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Every search with its digest, newest first."""
        found = [(path.stem, _read(path)) for path in self._searches.glob("*.json")]
        return sorted(found, key=lambda each: str(each[1]["at"]), reverse=True)


def _write(path: Path, value: object) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, json.dumps(value, indent=1, ensure_ascii=False).encode(), temporary, 0o644)


def _read(path: Path) -> Mapping[str, Any]:
    hint = f"Remove {path}; it is measured again when it is needed."
    if path.stat().st_size > _MAX_BYTES:
        raise FormatError(f"{path} is too large for a finding", hint=hint)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is damaged", hint=hint) from error
    if not isinstance(value, dict) or not isinstance(value.get("at"), str):
        raise FormatError(f"{path} is no finding", hint=hint)
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
