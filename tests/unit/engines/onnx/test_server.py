"""The worker's HTTP: what a reply that cannot be written becomes."""

from types import SimpleNamespace
from typing import Any

from starlette.testclient import TestClient

from hutch.engines.onnx.server import Application


def test_a_reply_that_is_no_json_is_a_whole_error() -> None:
    async def score(_body: dict[str, Any]) -> dict[str, float]:
        return {"score": float("nan")}

    application = Application()
    application.wire = SimpleNamespace(posts={"/rerank": score}, gets={}, streams={})
    reply = TestClient(application).post("/rerank", json={})
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "server_error"
