"""A port that does not speak OpenAI's API: refused behind the guard and the gate, and counted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hutch.api.activity import Activity
from hutch.api.doors import _Marked
from hutch.api.server import create_app
from hutch.app import App
from hutch.config import Settings
from hutch.metrics.counters import OTHER, Counters
from hutch.places import Address
from hutch.security.authn import Authenticator, Keys, Open
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog
from tests.fakes import FakeBackend
from tests.unit.api.asgi import Reply, ask, scope


def _asked(folder: Path, counters: Counters, who: Authenticator, path: str, **headers: str) -> Reply:
    store = ModelStore(folder / "models", lambda: Catalog({}))
    parts = App(Settings(), store, FakeBackend(), who, counters=counters)
    door = _Marked(create_app(parts, Address.parse("127.0.0.1"), Activity()))
    door.openai_compatible = False
    return asyncio.run(ask(door, scope(path, {"host": "localhost", **headers}, "GET")))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))


def _num_refused(counters: Counters) -> Any:
    return counters.registry.get_sample_value(
        "hutch_http_errors_total", {"route": OTHER, "code": "not_found"}
    )


@pytest.mark.parametrize("path", ["/v1", "/v1/models", "/v1/nothing"])
def test_its_v1_is_closed_and_that_counts(tmp_path: Path, path: str) -> None:
    counters = Counters()
    reply = _asked(tmp_path, counters, Open(), path)
    assert reply.status == 404
    assert "openai_compatible: false" in reply.json["error"]["message"]
    assert _num_refused(counters) == 1


def test_all_else_is_there(tmp_path: Path) -> None:
    assert _asked(tmp_path, Counters(), Open(), "/api/version").status == 200
    assert _asked(tmp_path, Counters(), Open(), "/v10").status == 404


def test_who_may_not_come_in_is_told_no_more_than_elsewhere(tmp_path: Path) -> None:
    assert _asked(tmp_path, Counters(), Keys(lambda: ()), "/v1/models").status == 401
    foreign = _asked(tmp_path, Counters(), Open(), "/v1/models", origin="https://elsewhere.example")
    assert foreign.status == 403
