"""Which model `hutch run` means."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hutch.cli import http, run
from hutch.core.errors import NotFound

_CATALOG = {
    "models": [
        {"name": "other", "aliases": [], "installed": [], "variants": []},
        {
            "name": "qwen3:0.6b",
            "aliases": ["qwen/Qwen3-0.6B"],
            "installed": ["qwen3:0.6b-q8_0"],
            "variants": [
                {"tag": "q4_k_m", "installed": []},
                {"tag": "q8_0", "installed": ["qwen3:0.6b-q8_0"]},
            ],
        },
    ]
}


class _Server:
    """Has one model under one name."""

    def __init__(self) -> None:
        self.pulled: list[str] = []

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if path == "/api/show" and body["model"] in ("qwen3:0.6b-q8_0", *self.pulled):
            return {}
        raise NotFound(f"no {path}")

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        assert path == "/api/pull"
        self.pulled.append(body["model"])
        yield {"status": "success"}


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("qwen3:0.6b-q8_0", "qwen3:0.6b-q8_0"),
        ("Qwen/qwen3-0.6b", "qwen3:0.6b-q8_0"),
        ("qwen3:0.6b", "qwen3:0.6b-q8_0"),
        ("qwen/qwen3-0.6b:q8_0", "qwen3:0.6b-q8_0"),
    ],
)
def test_a_model_that_is_here_under_another_of_its_names_is_used(
    monkeypatch: pytest.MonkeyPatch, model: str, meant: str
) -> None:
    monkeypatch.setattr(http, "ask", lambda *_: _CATALOG)
    server = _Server()
    assert run.described(server, model)[0] == meant
    assert server.pulled == []


@pytest.mark.parametrize("model", ["qwen3:0.6b-q4_k_m", "other", "unheard"])
def test_what_is_here_under_no_name_is_pulled(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setattr(http, "ask", lambda *_: _CATALOG)
    server = _Server()
    assert run.described(server, model)[0] == model
    assert server.pulled == [model]


def test_a_server_without_a_catalog_pulls(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotFound("404 page not found")

    monkeypatch.setattr(http, "ask", refuse)
    server = _Server()
    assert run.described(server, "qwen3:0.6b")[0] == "qwen3:0.6b"
    assert server.pulled == ["qwen3:0.6b"]
