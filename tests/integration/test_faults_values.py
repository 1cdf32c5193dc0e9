"""Numbers at and past their edges, and odd schemas: used or refused by name, never a 5xx."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hutch.core.options import OPTION_TYPES
from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import Reply, ask, generate, running

PLAIN: dict[str, Any] = {"model": MODEL, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}}


def post(server: Server, path: str, body: object) -> Reply:
    """One POST that must not be a failure of the server's own."""
    reply = ask(server, "POST", path, body)
    assert reply.status < 500, (reply.status, reply.body[:300])
    return reply


EDGES: list[Any] = [
    -2,
    -1,
    0,
    1,
    1.5,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    1 << 63,
    -(1 << 63),
    1 << 64,
    10**30,
    "1",
    True,
    [],
    {},
]


@pytest.fixture(scope="module")
def loaded_for_good(server: Server) -> Iterator[Server]:
    """The server, with the model in it kept; afterwards as it was."""
    yield server
    ask(server, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0})


RELOADING = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")


@EVERY_ENGINE
@pytest.mark.parametrize("option", sorted(set(OPTION_TYPES) - set(RELOADING)))
def test_no_value_of_an_option_makes_the_server_or_its_worker_fail(
    loaded_for_good: Server, option: str
) -> None:
    for value in EDGES:
        options = {"num_predict": 1, "stop": list("aeiou,. \n"), option: value}
        body = {**PLAIN, "raw": True, "options": options}
        reply = post(loaded_for_good, "/api/generate", body)
        assert reply.status in (200, 400), (value, reply.body)
        if reply.status == 400:
            assert option in reply.error, (value, reply.error)
    assert generate(loaded_for_good, options={"num_predict": 2}).status == 200


@EVERY_ENGINE
@pytest.mark.parametrize("option", ["num_ctx", "num_batch", "num_thread", "main_gpu", "num_gpu"])
def test_values_that_no_loaded_model_can_have_are_refused_by_name(server: Server, option: str) -> None:
    pid = running(server).get(MODEL, {}).get("pid")
    values: list[Any] = [-2, 1 << 31, 1 << 63, -(1 << 63), 10**30, "1", True, []]
    for value in values:
        reply = post(server, "/api/generate", {**PLAIN, "options": {option: value}})
        assert reply.status == 400
        assert option in reply.error
    assert running(server).get(MODEL, {}).get("pid") == pid


@EVERY_ENGINE
def test_deep_and_repeating_schemas_are_refused_before_the_engine_sees_them(server: Server) -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        deep = {"type": "object", "properties": {"a": deep}}
    for schema in (
        deep,
        {"type": "string", "pattern": "^a{100000}$"},
        {"type": "array", "maxItems": 1 << 40},
        {"enum": ["x" * 100] * 10_000},
    ):
        began = time.monotonic()
        reply = post(server, "/api/generate", {**PLAIN, "format": schema})
        assert reply.status == 400
        assert "format" in reply.error
        assert time.monotonic() - began < 2


@EVERY_ENGINE
@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/definitions/none"},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "file:///etc/passwd"},
        {"type": "nonsense"},
        {"type": "string", "pattern": "(a+)+b"},
        {"type": "string", "pattern": "["},
        {
            "definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}},
            "$ref": "#/definitions/a",
        },
        {"not": {}},
        {"type": ["object", 7]},
    ],
    ids=str,
)
def test_an_odd_schema_is_used_or_refused_and_harms_nobody(server: Server, schema: dict[str, Any]) -> None:
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    few = {"options": {"num_predict": 2}, "stream": False}
    for path, extra in (
        ("/api/chat", {"format": schema, **few}),
        (
            "/v1/chat/completions",
            {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        ),
    ):
        assert post(server, path, {**chat, **extra}).status in (200, 400)


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@EVERY_ENGINE
@pytest.mark.parametrize("raw", [False, True])
def test_an_answer_has_the_fields_of_its_schema_and_no_others(server: Server, raw: bool) -> None:
    options = {"temperature": 0, "num_predict": 200}
    body = {"model": MODEL, "prompt": "Ann is 5. JSON.", "stream": False, "options": options}
    reply = ask(server, "POST", "/api/generate", {**body, "format": PERSON, "raw": raw}).json
    assert reply["done_reason"] == "stop"
    assert set(json.loads(reply["response"])) == {"name", "age"}


@EVERY_ENGINE
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/v1/chat/completions"])
def test_a_schema_that_cannot_be_used_is_no_answer_without_it(server: Server, path: str) -> None:
    schema = {"type": "string", "pattern": "("}
    said = {"prompt": "Hi"} if path == "/api/generate" else {"messages": [{"role": "user", "content": "Hi"}]}
    form: dict[str, Any] = {"format": schema}
    if path.startswith("/v1"):
        form = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    reply = ask(server, "POST", path, {"model": MODEL, **said, **form})
    assert reply.status == 400
    assert "regex parse error" in reply.error


@EVERY_ENGINE
def test_the_whole_context_may_be_looked_at_for_repetitions(server: Server) -> None:
    options = {"repeat_last_n": -1, "repeat_penalty": 1.2, "num_predict": 4}
    body = {"model": MODEL, "prompt": "Hi", "stream": False, "options": options}
    assert ask(server, "POST", "/api/generate", body).status == 200


def test_too_many_messages_are_refused_before_they_are_looked_at(server: Server) -> None:
    body = (
        b'{"model": "x", "messages": [' + b",".join([b'{"role": "user", "content": "x"}'] * 200_000) + b"]}"
    )
    began = time.monotonic()
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        reply = ask(server, "POST", path, body)
        assert reply.status == 400
        assert "messages" in reply.error
    assert time.monotonic() - began < 5


@EVERY_ENGINE
def test_every_duration_is_told_also_of_a_model_that_was_loaded(server: Server) -> None:
    body = {"model": MODEL, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}}
    for _ in range(2):
        reply = ask(server, "POST", "/api/generate", body).json
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            assert reply[name] > 0
