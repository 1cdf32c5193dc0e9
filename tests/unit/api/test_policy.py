"""What a key for some models may do: nothing that is not on the list, whatever the route."""

import asyncio
import base64
import hashlib
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from hutch import app, config
from hutch.api import policy, server
from hutch.api.activity import Activity
from hutch.api.doors import _Marked
from hutch.api.route import Route
from hutch.app import App
from hutch.config import Settings
from hutch.core.access import ANONYMOUS, Action, Allowance, Principal
from hutch.core.errors import BadInput, Forbidden
from hutch.core.names import ModelName
from hutch.places import Address
from hutch.security.authn import Keys
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog, Wanted
from tests.fakes import FakeBackend
from tests.gguf_files import tiny_model
from tests.keys import key
from tests.picture_files import png

SOME = Principal("some", "some", Allowance(models=(ModelName.parse("tiny"),)))
MODELS = ("tiny", "other")
PNG = base64.b64encode(png()).decode()
NAMES_NO_MODEL = {
    "/api/tasks/enhance",
    "/api/tasks/ocr",
    "/api/tasks/{task}",  # of a task that there is not
    "/v1/responses/{response}",
    "/v1/responses/{response}/cancel",
    "/v1/responses/{response}/input_items",
}


async def _routes() -> tuple[Route, ...]:
    address = Address.parse("")
    parts = app.build(config.load(), address)
    try:
        return server.all_routes(parts, Activity())
    finally:
        await parts.backend.close()


def test_every_route_about_a_model_has_it_where_the_gate_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    for route in asyncio.run(_routes()):
        if route.action in (Action.INFER, Action.READ_MODEL) and route.path not in NAMES_NO_MODEL:
            fields = set(route.body.model_fields) if route.body else set()
            looked_at = {*fields, *route.query, *(["model"] if "{model" in route.path else [])}
            assert "model" in looked_at or route.path == "/tokenizer_info", route.path


@pytest.mark.parametrize("action", Action)
def test_what_is_not_allowed_by_name_is_refused(action: Action) -> None:
    policy.check_action(ANONYMOUS, action)
    is_fine = action.value.split(".")[-1] in ("health", "describe", "infer", "list", "read", "see")
    if is_fine and action not in (Action.SEE_METRICS, Action.SEE_DEPLOYMENTS):
        policy.check_action(SOME, action)
    else:
        with pytest.raises(Forbidden, match="some models only"):
            policy.check_action(SOME, action)


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """The real application with the models `tiny` and `other`, and a key for each sort."""
    entries = {ModelName.parse(name): Wanted("https", f"https://localhost/{name}.gguf") for name in MODELS}
    store = ModelStore(tmp_path / "models", lambda: Catalog(entries))
    [digest] = [f"sha256:{_sha256(tiny_model())}"]
    store.import_blob([tiny_model()], digest)
    for name in MODELS:
        for _ in store.create(ModelName.parse(name), Recipe(files=(("tiny.gguf", digest),))):
            pass
    known = (key("all"), key("some", "some", models=("TINY",)))
    parts = App(Settings(), store, FakeBackend(), Keys(lambda: known))
    return TestClient(server.create_app(parts, Address.parse("127.0.0.1"), Activity()), "http://localhost")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ALL, OF_SOME = {"Authorization": "Bearer all"}, {"Authorization": "Bearer some"}


def test_a_key_for_some_models_sees_these_alone(client: TestClient) -> None:
    def names(headers: dict[str, str]) -> tuple[set[str], set[str]]:
        tags, models = client.get("/api/tags", headers=headers), client.get("/v1/models", headers=headers)
        return {row["name"] for row in tags.json()["models"]}, {row["id"] for row in models.json()["data"]}

    both, one = {"tiny:latest", "other:latest"}, {"tiny:latest"}
    assert names(ALL) == (both, both)
    assert names(OF_SOME) == (one, one)


@pytest.mark.parametrize(
    ("headers", "loaded", "here"),
    [(ALL, {"tiny:latest", "kept:latest"}, {"tiny": True, "other": True}), (OF_SOME, {"tiny:latest"}, {"tiny": True, "other": False})],
)  # fmt: skip
def test_what_is_loaded_and_what_is_here_are_told_of_these_alone(
    client: TestClient, headers: dict[str, str], loaded: set[str], here: dict[str, bool]
) -> None:
    ps = client.get("/api/ps", headers=headers).json()["models"]
    assert {row["name"] for row in ps} == loaded
    catalog = client.get("/api/catalog", headers=headers).json()["models"]
    assert {row["name"]: bool(row["installed"]) for row in catalog} == here


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/generate", {"prompt": "hi", "stream": False}), ("/api/generate", {}), ("/api/generate", {"keep_alive": 0}),
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}], "stream": False}), ("/api/embed", {"input": "hi"}),
        ("/api/embeddings", {"prompt": "hi"}), ("/api/show", {}), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/completions", {"prompt": "hi"}), ("/v1/embeddings", {"input": "hi"}), ("/v1/responses", {"input": "hi"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}), ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("/tokenize", {"content": "hi"}), ("/detokenize", {"tokens": [1]}), ("/apply-template", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/score", {"text_1": "a", "text_2": "b"}), ("/score", {"queries": "a", "documents": ["b"]}),
        ("/api/tasks/summarize", {"text": "hi"}), ("/api/tasks/rewrite", {"text": "hi"}), ("/api/tasks/translate", {"text": "hi", "to": "French"}),
        ("/api/tasks/classify", {"text": "hi", "labels": ["a", "b"]}), ("/api/tasks/extract", {"text": "hi", "fields": ["a"]}),
        ("/api/tasks/table", {"text": "hi"}), ("/api/tasks/redact", {"text": "hi", "names": ["people"]}),
        ("/api/tasks/redact", {"text": "hi"}), ("/api/tasks/describe", {"image": PNG}),
    ],
)  # fmt: skip
def test_every_other_model_is_one_that_does_not_exist(
    client: TestClient, path: str, more: dict[str, object]
) -> None:
    for model in ("other", "OTHER:latest", "library/other", "nosuch"):
        reply = client.post(path, json={"model": model, **more}, headers=OF_SOME)
        assert reply.status_code == 404, (model, reply.text)
        assert "not found" in reply.text
    assert client.post(path, json={"model": "other", **more}, headers=ALL).status_code != 404
    assert client.post(path, json={"model": "tiny", **more}, headers=OF_SOME).status_code not in (403, 404)


def test_a_port_of_a_deployment_and_a_kept_response_lead_to_no_other_model(client: TestClient) -> None:
    door = TestClient(_Marked(client.app), "http://localhost")
    assert (
        door.post("/v1/responses", json={"model": "other", "input": "hi"}, headers=OF_SOME).status_code == 404
    )
    assert {row["id"] for row in door.get("/v1/models", headers=OF_SOME).json()["data"]} == {"tiny:latest"}
    kept = {
        who["Authorization"]: door.post(
            "/v1/responses", json={"model": "tiny", "input": "hi"}, headers=who
        ).json()["id"]
        for who in (ALL, OF_SOME)
    }
    own, foreign = kept[OF_SOME["Authorization"]], kept[ALL["Authorization"]]
    body = {"model": "other", "input": "and?", "previous_response_id": own}
    assert client.post("/v1/responses", json=body, headers=OF_SOME).status_code == 404
    assert client.post("/v1/responses", json=body | {"model": "tiny"}, headers=OF_SOME).status_code == 200
    body = {"model": "tiny", "input": "and?", "previous_response_id": foreign}
    assert client.post("/v1/responses", json=body, headers=OF_SOME).status_code == 404
    for path in ("", "/input_items"):
        assert client.get(f"/v1/responses/{own}{path}", headers=OF_SOME).status_code == 200
        assert client.get(f"/v1/responses/{foreign}{path}", headers=OF_SOME).status_code == 404


def test_every_other_model_is_not_there_in_a_path_or_a_query_either(client: TestClient) -> None:
    assert client.get("/v1/models/other", headers=OF_SOME).status_code == 404
    assert client.get("/v1/models/tiny", headers=OF_SOME).status_code == 200
    assert client.get("/tokenizer_info?model=other", headers=OF_SOME).status_code == 404
    assert client.post("/api/show", json={"name": "other"}, headers=OF_SOME).status_code == 404
    assert (
        client.post("/api/show", json={"model": "tiny", "name": "other"}, headers=OF_SOME).status_code == 404
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/delete", {"model": "tiny"}), ("POST", "/api/copy", {"source": "other", "destination": "tiny"}),
        ("POST", "/api/create", {"model": "tiny", "from": "other"}), ("POST", "/api/pull", {"model": "tiny"}),
        ("POST", "/api/push", {"model": "tiny"}), ("GET", "/metrics", None), ("HEAD", "/api/blobs/sha256:" + "0" * 64, None),
        ("POST", "/api/create", {"model": "new", "from": "tiny"}), ("GET", "/api/metrics", None), ("GET", "/api/deployments", None),
        ("PUT", "/api/deployments/8080", {"deployment": {}}), ("DELETE", "/api/deployments/8080", None),
        ("POST", "/api/deployments/8080/rollback", {}),
    ],
)  # fmt: skip
def test_a_key_for_some_models_changes_nothing(
    client: TestClient, method: str, path: str, body: object
) -> None:
    assert client.request(method, path, json=body, headers=OF_SOME).status_code == 403
    assert client.request(method, path, json=body).status_code == 401


def test_what_a_request_asks_of_the_queue() -> None:
    urgent = Principal("u", "u", Allowance(priority=5))
    who = policy.asking(urgent, {policy.DEADLINE: "2m", policy.PRIORITY: "3"})
    assert who == urgent
    assert who.begin_by == pytest.approx(time.monotonic() + 120, abs=5)
    assert who.allowance.priority == 3
    assert policy.asking(urgent, {policy.PRIORITY: "99"}).allowance.priority == 5  # not above the key's own
    assert policy.asking(urgent, {}) is urgent


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "1e9", "0s"])
def test_a_deadline_that_is_none_is_refused(client: TestClient, value: str) -> None:
    with pytest.raises(BadInput):
        policy.asking(ANONYMOUS, {policy.DEADLINE: value})
    assert client.get("/api/tags", headers={**ALL, "X-Hutch-Deadline": value}).status_code == 400
    assert client.get("/api/tags", headers={**ALL, "X-Hutch-Priority": "high"}).status_code == 400


def test_the_queue_tells_of_everybody_or_of_oneself(client: TestClient) -> None:
    told = client.get("/api/queue", headers=ALL).json()
    assert told["max_queue"] == 512
    assert {"slots", "busy", "queued", "models", "principals", "memory"} <= told.keys()
    models = {row["name"] for row in told["models"]}
    assert models
    assert {row["name"] for row in client.get("/api/queue", headers=OF_SOME).json()["models"]} <= models & {
        "tiny:latest"
    }
