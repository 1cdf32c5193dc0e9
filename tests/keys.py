"""Keys whose text a test knows."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from hutch.core.access import Allowance
from hutch.core.names import ModelName
from hutch.security.keys import Key, digest
from tests.conftest import Server, clean_environment


def key(text: str, name: str = "test", *, expires_at: datetime | None = None, **allowance: Any) -> Key:
    """The key of this text; `models` are names."""
    if "models" in allowance:
        allowance["models"] = tuple(map(ModelName.parse, allowance["models"]))
    created_at = datetime(2026, 1, 2, tzinfo=UTC)
    return Key(name, digest(text), created_at, expires_at, Allowance(**allowance))


def made(server: Server, name: str, *words: str) -> dict[str, str]:
    """The headers of a new key, made as an operator makes it."""
    done = subprocess.run(
        [sys.executable, "-m", "hutch", "keys", "create", name, *words, "--json"],
        env=clean_environment(HUTCH_HOME=str(server.home)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {"Authorization": f"Bearer {json.loads(done.stdout)['key']}"}
