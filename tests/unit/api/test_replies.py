"""What the description says of replies, held against every reply that is written down, and against the routes."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from hutch.api.replies import ERRORS, REPLIES
from tests.contract.test_golden import GOLDEN, golden_files


def _written(name: str) -> tuple[str, dict[str, Any]]:
    kept = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    request = kept["request"]
    return f"{request.get('method', 'POST')} {request['path'].partition('?')[0]}", kept["reply"]


@pytest.mark.parametrize("name", golden_files())
def test_replies_are_what_is_described(name: str) -> None:
    route, reply = _written(name)
    if "json" not in reply or route not in REPLIES:
        return
    dialect = "Ollama" if " /api/" in route else "Anthropic" if "/v1/messages" in route else "OpenAI"
    kind = ERRORS[dialect] if reply["status"] >= 400 else REPLIES[route].type
    TypeAdapter(kind).validate_python(reply["json"], strict=True)


def test_most_written_replies_are_looked_at() -> None:
    looked = [
        name for name in golden_files() if (found := _written(name))[0] in REPLIES and "json" in found[1]
    ]
    assert len(looked) > 100
    assert Path(GOLDEN).is_dir()
