"""Bodies that are too large, too deep, no JSON, of wrong types, or out of range: 4xx that names the field, never 5xx."""

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hutch.core.options import OPTION_TYPES
from tests.conftest import MODEL, Server
from tests.contract.live import Reply, ask, generate, own_models, running, said, serving
from tests.gguf_files import EMBEDDING, NORM, Raw, TensorSpec, tiny_model

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
FEW = {"num_predict": 2}
BODIES = {
    "/api/generate": {"model": MODEL, "prompt": "Hi", "stream": False, "options": FEW},
    "/api/chat": {**CHAT, "stream": False, "options": FEW},
    "/api/embed": {"model": MODEL, "input": "Hi"},
    "/api/embeddings": {"model": MODEL, "prompt": "Hi"},
    "/v1/chat/completions": {**CHAT, "max_tokens": 2},
    "/v1/completions": {"model": MODEL, "prompt": "Hi", "max_tokens": 2},
    "/v1/embeddings": {"model": MODEL, "input": "Hi"},
}


def post(server: Server, path: str, body: object) -> Reply:
    """One POST that must not be a failure of the server's own."""
    reply = ask(server, "POST", path, body)
    assert reply.status < 500, (reply.status, reply.body[:300])
    return reply


def raw_reply(server: Server, request: bytes) -> bytes:
    """The first bytes that come back for these."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(1 << 16)


@pytest.mark.parametrize("path", sorted(BODIES))
def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(server: Server, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 30}\r\n\r\n"
    assert raw_reply(server, head.encode() + b"{").startswith(b"HTTP/1.1 413 ")


def test_a_body_that_grows_too_large_is_refused_on_the_way(models_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", models_dir, MAX_BODY_MIB="1") as small:
        connection = http.client.HTTPConnection(urlsplit(small.url).netloc, timeout=20)
        connection.putrequest("POST", "/api/chat")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        piece = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        try:
            for _ in range(17):
                connection.send(piece)
        except OSError:
            pass  # it has hung up already
        reply = connection.getresponse()
        assert reply.status == 413
        assert b"1 MiB" in reply.read()
        connection.close()


BROKEN = {
    "nothing": b"",
    "spaces": b" \n ",
    "no JSON": b"{",
    "text after it": b'{"model": "x"} trailing',
    "no object": b'["model"]',
    "a number": b"7",
    "null": b"null",
    "not UTF-8": b'{"model": "\xff\xfe"}',
    "a byte order mark": b'\xef\xbb\xbf{"model": "x"}',
    "a lone surrogate": b'{"model": "' + MODEL.encode() + rb'", "prompt": "\ud800"}',
    "10,000 deep": b'{"model": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "100,000 deep in an option": b'{"model": "x", "options": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "a number of 5,000 digits": b'{"model": "x", "options": {"seed": ' + b"9" * 5000 + b"}}",
    "a NUL": b'{"model": "smol\\u0000lm"}',
}


@pytest.mark.parametrize("path", ["/api/generate", "/v1/chat/completions"])
@pytest.mark.parametrize("what", sorted(BROKEN))
def test_a_body_that_is_no_request_is_a_400_with_a_reason(server: Server, path: str, what: str) -> None:
    reply = post(server, path, BROKEN[what])
    assert reply.status == 400
    assert reply.error


def test_a_key_that_comes_twice_counts_the_last_time(server: Server) -> None:
    body = b'{"model": "nope", "model": "' + MODEL.encode() + b'", "prompt": "Hi", "stream": false, '
    assert post(server, "/api/generate", body + b'"options": {"num_predict": 2}}').json["model"] == MODEL


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_a_hundred_thousand_messages_are_refused_at_once(server: Server, path: str) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x"}] * 100_000}).encode()
    began = time.monotonic()
    reply = post(server, path, body)
    assert reply.status == 400
    assert "messages" in reply.error
    assert time.monotonic() - began < 5


NOT_A_NUMBER = {
    "/api/generate": [
        '{"model": "%s", "prompt": "Hi", "options": {"temperature": %s}}',
        '{"model": "%s", "prompt": "Hi", "keep_alive": %s}',
        '{"model": "%s", "prompt": "Hi", "format": {"type": "object", "x": %s}}',
        '{"model": "%s", "prompt": "Hi", "top_logprobs": %s}',
    ],
    "/v1/chat/completions": [
        '{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "temperature": %s}',
        '{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"1": %s}}',
        '{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "n": %s}',
    ],
}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e309"])
@pytest.mark.parametrize(
    ("path", "text"), [(path, text) for path, texts in NOT_A_NUMBER.items() for text in texts]
)
def test_numbers_that_json_does_not_have_are_refused(
    server: Server, path: str, text: str, value: str
) -> None:
    if "keep_alive" in text and "Infinity" in value:
        pytest.skip("for ever is a time that a model may stay")
    if "keep_alive" in text and value == "1e309":
        pytest.skip("so is this")
    assert post(server, path, (text % (MODEL, value)).encode()).status == 400


TYPES = {  # for each field values of types that it does not take
    "/api/generate": {
        "model": [7, True, ["a"], {}],
        "prompt": [7, True, ["a"], {}],
        "suffix": [7, ["a"], "x"],
        "system": [7, ["a"], {}],
        "template": [7, ["a"], {}, "{{ range }}"],
        "context": ["a", [True], ["1"], [1.5], [-1], [1 << 31], {}],
        "stream": ["yes", 1, []],
        "raw": ["yes", 1, []],
        "format": ["xml", 7, [], True],
        "keep_alive": [True, [], {}],
        "images": ["a", [7], ["aGk="]],
        "options": ["a", 7, []],
        "think": [7, [], "high"],
        "truncate": ["yes", 1],
        "shift": ["yes", 1, True],
        "logprobs": ["yes", 1],
        "top_logprobs": ["a", 1.5, -1, 21, True, 1 << 70],
        "_debug_render_only": ["yes", True],
    },
    "/api/chat": {
        "model": [7, ["a"]],
        "messages": ["a", 7, {}, ["a"], [[]], [{}], [{"role": 7}]],
        "messages.0.role": [[{"role": "oracle", "content": "a"}], [{"role": 7, "content": "a"}]],
        "messages.0.content": [[{"role": "user", "content": 7}], [{"role": "user", "content": ["a"]}]],
        "messages.0.images": [[{"role": "user", "content": "a", "images": ["aGk="]}]],
        "messages.0.tool_calls": [[{"role": "assistant", "tool_calls": [7]}], [{"role": "user", "tool_calls": 7}]],
        "messages.0.tool_calls.0.function": [[{"role": "assistant", "tool_calls": [{"function": 7}]}]],
        "tools": ["a", 7, [7], [{}], [{"type": "spell"}], [{"function": {}}]],
        "tools.0.function.parameters": [[{"function": {"name": "f", "parameters": 7}}]],
        "stream": ["yes"],
        "format": [7],
        "options": [7],
    },
    "/api/embed": {
        "model": [7],
        "input": [7, {}, [7], [["a"]], True],
        "truncate": ["yes"],
        "dimensions": ["a", 0, -1, 1.5],
        "options": [7],
    },
    "/api/embeddings": {"model": [7], "prompt": [7, ["a"]], "options": [7]},
    "/v1/chat/completions": {
        "model": [7, None, ["a"]],
        "messages": [None, "a", 7, [], ["a"], [{}]],
        "messages.0.role": [[{"role": "oracle", "content": "a"}]],
        "messages.0.content": [[{"role": "user", "content": 7}]],
        "messages.0.content.0": [[{"role": "user", "content": [{"type": "image_url"}]}]],
        "stream": ["yes", 1],
        "stream_options": ["yes", {"include_usage": "yes"}],
        "max_tokens": ["a", 1.5, -1, 1 << 40],
        "temperature": ["a", -0.1, 2.1, []],
        "top_p": ["a", -0.1, 1.1],
        "seed": ["a", 1.5, 1 << 80],
        "stop": [7, [7], ["x"] * 65, "x" * 2000],
        "frequency_penalty": ["a", -3, 3],
        "presence_penalty": ["a", -3, 3],
        "logit_bias": ["a", {"a": 1}, {"1": "a"}, {"1": 101}, {"-1": 1}, {"4294967296": 1}],
        "response_format": ["json", {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": 7}],
        "tools": ["a", [7], [{"type": "spell"}], [{"function": {"name": ""}}]],
        "tool_choice": [7, "always", "required", {"function": {"name": "nobody"}}, {"function": 7}],
        "parallel_tool_calls": ["yes"],
        "logprobs": ["yes", 3],
        "top_logprobs": ["a", 3, 21],
        "n": [2, "a"],
        "modalities": [["audio"]],
        "reasoning_effort": ["high"],
        "functions": [[{"name": "f"}]],
        "web_search_options": [{}],
    },
    "/v1/completions": {
        "prompt": [7, {}, [], "", [""], [[]], ["a", "b"], [-1], [1 << 31], [True], [1.5]],
        "logprobs": [True, "a", -1, 6],
        "echo": [True],
        "suffix": ["x"],
        "best_of": [2],
        "n": [2],
    },
    "/v1/embeddings": {
        "input": [None, 7, {}, "", [], [""], [[]], [-1], [[1 << 31]], [True], ["a", 1]],
        "encoding_format": ["hex", 7],
        "dimensions": [0, -1, "a"],
    },
}


@pytest.mark.parametrize(
    ("path", "field"), [(path, field) for path, fields in TYPES.items() for field in fields]
)
def test_a_field_of_a_wrong_type_is_a_400_that_names_it(server: Server, path: str, field: str) -> None:
    named, _, _ = field.partition(".")
    for value in TYPES[path][field]:
        reply = post(server, path, {**BODIES[path], named: value})
        if field == "top_logprobs" and reply.status == 200:
            pytest.fail(f"{value!r} was taken")
        assert reply.status == 400, (value, reply.body[:200])
        assert field in reply.error, (value, reply.error)


EDGES = [-2, -1, 0, 1, 1.5, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 63, -(1 << 63), 1 << 64, 10**30, "1", True, [], {}]


@pytest.fixture(scope="module")
def loaded_for_good(server: Server) -> Iterator[Server]:
    """The server, with the model in it kept; afterwards as it was."""
    yield server
    ask(server, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0})


RELOADING = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")


@pytest.mark.parametrize("option", sorted(set(OPTION_TYPES) - set(RELOADING)))
def test_no_value_of_an_option_makes_the_server_or_its_worker_fail(
    loaded_for_good: Server, option: str
) -> None:
    for value in EDGES:
        options = {"num_predict": 1, "stop": list("aeiou,. \n"), option: value}
        body = {**BODIES["/api/generate"], "raw": True, "options": options}
        reply = post(loaded_for_good, "/api/generate", body)
        assert reply.status in (200, 400), (value, reply.body)
        if reply.status == 400:
            assert option in reply.error, (value, reply.error)
    assert generate(loaded_for_good, options=FEW).status == 200


@pytest.mark.parametrize("option", ["num_ctx", "num_batch", "num_thread", "main_gpu", "num_gpu"])
def test_values_that_no_loaded_model_can_have_are_refused_by_name(server: Server, option: str) -> None:
    pid = running(server).get(MODEL, {}).get("pid")
    for value in (-2, 1 << 31, 1 << 63, -(1 << 63), 10**30, "1", True, []):
        reply = post(server, "/api/generate", {**BODIES["/api/generate"], "options": {option: value}})
        assert reply.status == 400
        assert option in reply.error
    assert running(server).get(MODEL, {}).get("pid") == pid


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
        reply = post(server, "/api/generate", {**BODIES["/api/generate"], "format": schema})
        assert reply.status == 400
        assert "format" in reply.error
        assert time.monotonic() - began < 2


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
        {"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}}, "$ref": "#/definitions/a"},
        {"not": {}},
        {"type": ["object", 7]},
    ],
    ids=str,
)
def test_an_odd_schema_is_used_or_refused_and_harms_nobody(server: Server, schema: dict[str, Any]) -> None:
    for path, extra in (
        ("/api/chat", {"format": schema}),
        ("/v1/chat/completions", {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}),
    ):
        assert post(server, path, {**BODIES[path], **extra}).status in (200, 400)


@pytest.fixture(scope="module")
def workshop(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model folder may be filled with anything."""
    folder = tmp_path_factory.mktemp("workshop")
    with serving(folder / "home", own_models(models_dir, folder / "models")) as server:
        yield server


HOSTILE = {
    "nothing": b"",
    "the magic alone": b"GGUF",
    "no GGUF": b"PK\3\4" + bytes(500),
    "cut": tiny_model()[:300],
    "counts of 2**63": tiny_model(num_tensors=1 << 63),
    "alignment 0": tiny_model({"general.alignment": 0}),
    "block_count 0": tiny_model({"llama.block_count": 0}),
    "block_count a text": tiny_model({"llama.block_count": "2"}),
    "a tensor past the end": tiny_model(tensors=(EMBEDDING, NORM, TensorSpec("t", (1 << 20,), offset=0))),
    "dimensions that overflow": tiny_model(tensors=(EMBEDDING, TensorSpec("t", (1 << 32, 1 << 32), offset=0))),
    "a string of 2**63": tiny_model({"general.name": Raw(8, b"\xff" * 7 + b"\x7f")}),
    "a byte token that is none": tiny_model(
        {"tokenizer.ggml.tokens": ("<s>", "</s>", "<0x-1>", "a", "b", "ab")}
    ),
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_a_hostile_model_file_is_refused_at_once_and_gets_no_name(workshop: Server, what: str) -> None:
    data = HOSTILE[what]
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert ask(workshop, "POST", f"/api/blobs/{digest}", data).status in (200, 201)
    before = ask(workshop, "GET", "/api/tags").json
    for stream in (False, True):
        began = time.monotonic()
        body = {"model": "hostile", "files": {"m.gguf": digest}, "stream": stream}
        reply = ask(workshop, "POST", "/api/create", body)
        assert time.monotonic() - began < 1
        assert reply.status == (200 if stream else 400)
        last = reply.lines[-1]
        assert last["error"]
        assert not any(line.get("status") == "success" for line in reply.lines)
    assert ask(workshop, "GET", "/api/tags").json == before


@pytest.mark.parametrize(
    ("digest", "status"),
    [
        ("sha256:" + "0" * 63, 400),
        ("sha256:" + "0" * 65, 400),
        ("sha256:" + "g" * 64, 400),
        ("md5:" + "0" * 32, 400),
        ("sha256:..%2f..%2f..%2fetc%2fpasswd", 404),  # a slash is never part of a digest's place
        ("sha256%3A" + "0" * 64, 400),  # a right digest, of other bytes
        ("..", 404),
        ("%00", 400),
    ],
)
def test_a_blob_goes_nowhere_but_under_its_own_digest(workshop: Server, digest: str, status: int) -> None:
    root = workshop.home.parent / "models"
    before = sorted(root.rglob("*"))
    assert ask(workshop, "POST", f"/api/blobs/{digest}", b"other bytes").status in (status, 400, 405)
    assert sorted(root.rglob("*")) == before
    assert ask(workshop, "HEAD", f"/api/blobs/{digest}").status in (400, 404, 405)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/b/c/d", "C:\\x", "a\0b", "-x", ".x", "x" * 81, "ａ", "a b", "a:b:c"]
)
def test_a_name_that_is_none_is_refused_everywhere(workshop: Server, name: str) -> None:
    for method, path, body in (
        ("POST", "/api/generate", {"model": name, "prompt": "Hi"}),
        ("POST", "/api/show", {"model": name}),
        ("DELETE", "/api/delete", {"model": name}),
        ("POST", "/api/copy", {"source": MODEL, "destination": name}),
        ("POST", "/api/copy", {"source": name, "destination": "x"}),
        ("POST", "/api/pull", {"model": name}),
        ("POST", "/api/create", {"model": name, "from": MODEL}),
        ("POST", "/api/create", {"model": "x", "from": name}),
        ("POST", "/v1/chat/completions", {**CHAT, "model": name}),
    ):
        reply = ask(workshop, method, path, body)
        assert reply.status in (400, 404), (path, reply.status)
        assert reply.error


def test_nothing_in_this_file_was_an_internal_error(server: Server, workshop: Server) -> None:
    for house in (server, workshop):
        assert "internal error" not in said(house)
        assert "Traceback" not in said(house)
