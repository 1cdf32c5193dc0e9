"""Keys whose text a test knows."""

from datetime import UTC, datetime
from typing import Any

from hutch.core.access import Allowance
from hutch.core.names import ModelName
from hutch.security.keys import Key, digest


def key(text: str, name: str = "test", *, expires_at: datetime | None = None, **allowance: Any) -> Key:
    """The key of this text; `models` are names."""
    if "models" in allowance:
        allowance["models"] = tuple(map(ModelName.parse, allowance["models"]))
    created_at = datetime(2026, 1, 2, tzinfo=UTC)
    return Key(name, digest(text), created_at, expires_at, Allowance(**allowance))
