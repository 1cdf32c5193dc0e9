"""What is too large or of a strange shape gets a short 400, and never a 500."""

from typing import Any

import pytest

from hutch.api import tokens
from tests.contract.house import Front

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/tokenize", {"content": "x" * ((1 << 20) + 1)}, "content"),
        ("/tokenize", {"prompt": "x" * ((1 << 20) + 1)}, "prompt"),
        ("/detokenize", {"tokens": [1] * ((1 << 20) + 1)}, "tokens"),
    ],
)
def test_texts_and_tokens_have_a_bound(house: Front, path: str, body: dict[str, Any], name: str) -> None:
    told = house.refuses(path, **body)
    assert name in told
    assert len(told) < 500


def test_messages_that_are_taken_apart_have_a_bound(house: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TEXT_CHARS", 100)
    long = [{"role": "user", "content": "x" * 101}]
    reply = house.client.post("/tokenize", json={"model": "tiny", "messages": long})
    assert (reply.status_code, "more than 100 characters" in reply.text) == (400, True)


def test_a_constraint_of_an_endless_name_is_told_in_short(house: Front) -> None:
    told = house.refuses("/v1/chat/completions", messages=HI, structured_outputs={"x" * 100_000: 1})
    assert "structured_outputs.xxxx" in told
    assert len(told) < 500
    many = {f"{number}" * 1000: 1 for number in range(1000)}
    assert len(house.refuses("/v1/chat/completions", messages=HI, structured_outputs=many)) < 1000


@pytest.mark.parametrize("port", ["9" * 5000, "0", "65536", "x", "²"])
def test_a_path_with_no_port_is_refused(house: Front, port: str) -> None:
    reply = house.client.delete(f"/api/deployments/{port}")
    assert reply.status_code == 400
    assert "names no port" in reply.text


@pytest.mark.parametrize(
    "tools", [5, "clock", [5], [{"function": {"name": ["clock"]}}], [{"function": {"name": {}}}]]
)
def test_allowed_tools_that_are_none_are_refused(house: Front, tools: Any) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}
    clock = {"type": "function", "function": {"name": "clock"}}
    told = house.refuses("/v1/chat/completions", messages=HI, tools=[clock], tool_choice=choice)
    assert "allowed_tools" in told
