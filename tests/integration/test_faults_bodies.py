"""Bodies that are too large, too deep, no JSON, or of wrong types: a 4xx that names the field, never a 5xx."""

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import MODEL, Server
from tests.contract.live import Reply, ask, said, serving

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
FEW = {"num_predict": 2}
BODIES: dict[str, dict[str, Any]] = {
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
    "100,000 deep in an option": b'{"model": "x", "options": {"a": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}}",
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


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        (path, text, value)
        for path, texts in NOT_A_NUMBER.items()
        for text in texts
        for value in ("NaN", "Infinity", "-Infinity", "1e309")
        if value == "NaN" or "keep_alive" not in text  # for ever is a time that a model may stay
    ],
)
def test_numbers_that_json_does_not_have_are_refused(
    server: Server, path: str, text: str, value: str
) -> None:
    assert post(server, path, (text % (MODEL, value)).encode()).status == 400


TYPES: dict[str, dict[str, list[Any]]] = {  # for each field values of types that it does not take
    "/api/generate": {
        "model": [7, True, ["a"], {}],
        "prompt": [7, True, ["a"], {}],
        "suffix": [7, ["a"]],
        "system": [7, ["a"], {}],
        "template": [7, ["a"], {}, "{{ range }}", "{{ .Prompt.x }}", "{{ range 9999999 }}{{ end }}"],
        "context": ["a", [True], ["1"], [1.5], [-1], [1 << 31], {}],
        "stream": ["yes", 1, []],
        "raw": ["yes", 1, []],
        "format": ["xml", 7, [], True],
        "keep_alive": [True, [], {}],
        "images": ["a", [7], ["aGk="]],
        "options": ["a", 7, []],
        "think": [7, [], "always", ""],
        "truncate": ["yes", 1],
        "shift": ["yes", 1],
        "logprobs": ["yes", 1],
        "top_logprobs": ["a", 1.5, -1, 21, True, 1 << 70],
        "_debug_render_only": ["yes"],
    },
    "/api/chat": {
        "model": [7, ["a"]],
        "messages": ["a", 7, {}, ["a"], [[]], [{}], [{"role": 7}]],
        "messages.0.role": [[{"role": "oracle", "content": "a"}], [{"role": 7, "content": "a"}]],
        "messages.0.content": [[{"role": "user", "content": 7}], [{"role": "user", "content": ["a"]}]],
        "messages.0.images": [[{"role": "user", "content": "a", "images": ["aGk="]}]],
        "messages.0.tool_calls": [
            [{"role": "assistant", "tool_calls": [7]}],
            [{"role": "user", "tool_calls": 7}],
        ],
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
        "dimensions": ["a", -1, 1.5],
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
        "response_format": [
            "json",
            {"type": "xml"},
            {"type": "json_schema"},
            {"type": "json_schema", "json_schema": 7},
        ],
        "tools": ["a", [7], [{"type": "spell"}], [{"function": {"name": ""}}]],
        "tool_choice": [7, "always", "required", {"function": {"name": "nobody"}}, {"function": 7}],
        "parallel_tool_calls": ["yes"],
        "logprobs": ["yes", 3],
        "top_logprobs": ["a", 3, 21],
        "n": ["a"],
        "modalities": [["audio"]],
        "reasoning_effort": ["high", "extreme", 7],
        "reasoning": ["high", {"effort": 7}, {"effort": "extreme"}],
        "web_search_options": [{}],
    },
    "/v1/completions": {
        "prompt": [7, {}, [], "", [""], [[]], [-1], [1 << 31], [True], [1.5]],
        "logprobs": [True, "a", -1, 6],
        "echo": ["a"],
        "suffix": [7, ["a"]],
        "best_of": ["a"],
        "n": ["a"],
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


def test_none_of_this_was_an_internal_error(server: Server) -> None:
    assert "internal error" not in said(server)
    assert "Traceback" not in said(server)
