"""Servers that are away, busy, slow, broken, or no Hutch at all: an error each time, and never silence."""

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

import pytest

import hutch
from hutch import AsyncClient, Client, HutchError, Retries
from hutch.core import errors
from hutch.sdk.failures import BadAnswer, BrokenOff, TooSlow, TurnedAway
from hutch.sdk.lines import MAX_LINE_BYTES
from tests.conftest import clean_environment, free_port
from tests.scripted_http import HTML_502, Reply, Script, lines, told
from tests.unit.sdk.conftest import QUICK, Asker

BUSY = {"error": "the queue is full", "code": "busy", "hint": "Ask later."}
PIECE = {"message": {"content": "Hi"}, "done": False, "status": "x"}
DONE = {"message": {"content": ""}, "done": True}
MODELS = told({"models": []})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "no", "code": "bad_input"}, errors.BadInput),
        (400, {"error": "no", "code": "context_length_exceeded"}, errors.ContextExceeded),
        (401, {"error": "no", "code": "unauthenticated"}, errors.Unauthenticated),
        (404, {"error": {"message": "no", "code": "model_not_found"}}, errors.NotFound),
        (404, {"error": "no"}, errors.NotFound),
        (413, {"error": "no"}, errors.BadInput),
        (500, {"error": "no", "code": "internal_error"}, HutchError),
        (502, {"error": "no", "code": "engine_failed", "hint": "Again."}, errors.EngineFailed),
        (507, {"error": "no", "code": "no_room"}, errors.NoRoom),
    ],
)
def test_an_error_is_told_as_what_it_is(
    ask: Asker, script: Script, status: int, body: Any, kind: type[HutchError]
) -> None:
    script.plays(told(body, status))
    for method in ("chat", "chat_stream"):
        with pytest.raises(HutchError) as caught:
            ask(method, "m", "hi")
        assert type(caught.value) is kind
        assert (caught.value.message, caught.value.hint) == ("no", body.get("hint", ""))
        assert caught.value.http_status == status
    assert len(script.asked) == 2


@pytest.mark.parametrize("method", ["list", "chat_stream", "pull"])
def test_a_server_that_is_away(ask: Asker, method: str) -> None:
    where = {"base_url": f"127.0.0.1:{free_port()}"}
    words = {"list": [], "chat_stream": ["m", "hi"], "pull": ["m"]}[method]
    with pytest.raises(errors.Unreachable, match="could not connect") as caught:
        ask(method, *words, client=where)
    assert "hutch serve" in caught.value.hint
    health = ask("health", client=where)
    assert not health.is_ready
    assert "could not connect" in health.problem


def test_a_server_that_comes_up_meanwhile_is_found() -> None:
    port = free_port()
    script = f"import time; time.sleep(0.5); import http.server as s; print(s.HTTPServer(('127.0.0.1', {port}), s.BaseHTTPRequestHandler).handle_request())"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        try:
            with (
                pytest.raises(HutchError) as caught,
                Client(f"127.0.0.1:{port}", retries=Retries(times=8)) as client,
            ):
                client.list()
            assert caught.value.http_status == 501  # so it was reached
        finally:
            server.kill()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("method", ["chat", "chat_stream", "pull"])
def test_what_was_turned_away_is_asked_again(ask: Asker, script: Script, status: int, method: str) -> None:
    last = {"chat": told(DONE), "chat_stream": lines(DONE), "pull": lines({"status": "success"})}[method]
    script.plays(told(BUSY, status), Reply(status, [HTML_502]), last)
    ask(method, *(["m"] if method == "pull" else ["m", "hi"]))
    assert len(script.asked) == 3


def test_after_the_last_attempt_the_error_is_told(ask: Asker, script: Script) -> None:
    script.plays(told(BUSY, 503))
    with pytest.raises(errors.Busy, match="the queue is full") as caught:
        ask("list")
    assert caught.value.hint == "Ask later."
    assert len(script.asked) == 1 + QUICK.times
    script.plays(told(BUSY, 503))
    with pytest.raises(errors.Busy):
        ask("list", client={"retries": Retries(times=0)})
    assert len(script.asked) == 1


@pytest.mark.parametrize(("method", "words"), [("delete", ["m"]), ("respond", ["m", "hi"])])
def test_what_cannot_be_done_twice_is_repeated_only_where_it_was_not_begun(
    ask: Asker, script: Script, method: str, words: list[str]
) -> None:
    script.plays(Reply(503, [HTML_502]))
    with pytest.raises(TurnedAway, match="503: 502 Bad Gateway"):
        ask(method, *words)
    assert len(script.asked) == 1
    script.plays(told(BUSY, 503), told({"id": "r", "status": "completed"}))
    ask(method, *words)
    assert len(script.asked) == 2


def test_retry_after_is_waited_for(ask: Asker, script: Script) -> None:
    script.plays(told(BUSY, 503, retry_after="1"), MODELS)
    ask("list")
    first, second = script.asked
    assert 1.0 <= second.at_s - first.at_s < 3.0


def test_a_retry_after_that_is_too_long_is_told(ask: Asker, script: Script) -> None:
    script.plays(told(BUSY, 503, retry_after="3600"))
    with pytest.raises(errors.Busy) as caught:
        ask("list")
    assert caught.value.retry_after_s == 3600
    assert len(script.asked) == 1


@pytest.mark.parametrize("text", ["soon", "-5", "nan", "1e999", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
def test_a_retry_after_that_says_nothing(ask: Asker, script: Script, text: str) -> None:
    script.plays(told(BUSY, 503, retry_after=text), MODELS)
    ask("list")
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_failure_is_not_asked_for_twice(ask: Asker, script: Script, status: int) -> None:
    script.plays(Reply(status, [HTML_502]))
    with pytest.raises(BadAnswer, match=f"status {status}: 502 Bad Gateway Bad Gateway") as caught:
        ask("chat", "m", "hi")
    assert caught.value.http_status == status
    assert "proxy" in caught.value.hint
    assert len(script.asked) == 1


def test_a_redirection_is_told_and_not_followed(ask: Asker, script: Script) -> None:
    script.plays(Reply(301, [], {"Location": "https://elsewhere/"}))
    with pytest.raises(BadAnswer) as caught:
        ask("list")
    assert "https://elsewhere/" in caught.value.hint


@pytest.mark.parametrize("body", [HTML_502, b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b"{}{}", b""])
@pytest.mark.parametrize("method", ["list", "chat_stream"])
def test_an_answer_that_is_no_json_object(ask: Asker, script: Script, method: str, body: bytes) -> None:
    script.plays(Reply(200, [body + b"\n"]))
    with pytest.raises(BrokenOff if method == "chat_stream" and not body else BadAnswer):
        ask(method, *(["m", "hi"] if method == "chat_stream" else []))


@pytest.mark.parametrize(
    ("method", "words", "body"),
    [
        ("list", [], {}),
        ("list", [], {"models": None}),
        ("ps", [], {"status": "ok"}),
        ("chat", ["m", "hi"], {"status": "ok"}),
        ("generate_stream", ["m", "hi"], {"status": "ok"}),
        ("embed", ["m", "hi"], {"data": []}),
        ("rerank", ["m", "q", ["d"]], {}),
        ("respond", ["m", "hi"], {"choices": []}),
        ("pull", ["m"], {"ok": True}),
        ("show", ["m"], {}),
        ("version", [], {}),
        ("list", [], {"models": 5}),
        ("list", [], {"models": [5]}),
        ("list", [], {"models": [{"name": 5}]}),
        ("list", [], {"models": [{"name": "x", "size": "5"}]}),
        ("list", [], {"models": [{"name": "x", "modified_at": "yesterday"}]}),
        ("chat", ["m", "hi"], {"message": "hi"}),
        ("chat", ["m", "hi"], {"message": {"content": ["hi"]}}),
        ("chat", ["m", "hi"], {"message": {"tool_calls": [{"function": {"arguments": "x"}}]}}),
        ("embed", ["m", "hi"], {"embeddings": [1]}),
        ("embed", ["m", "hi"], {"embeddings": [["x"]]}),
        ("rerank", ["m", "q", ["d"]], {"results": [{"index": True}]}),
        ("show", ["m"], {"details": {}, "capabilities": [1]}),
    ],
)
def test_an_answer_of_another_shape(ask: Asker, script: Script, method: str, words: Any, body: Any) -> None:
    script.plays(told(body))
    with pytest.raises(BadAnswer, match=r"something else|no object|no field"):
        ask(method, *words)


@pytest.mark.parametrize(
    "reply",
    [
        lines(PIECE, breaks=True),
        lines(PIECE),
        lines(),
        Reply(200, [json.dumps(PIECE).encode(), b"\n", b'{"message": {"con']),
    ],
    ids=["connection", "end", "nothing", "line"],
)
@pytest.mark.parametrize("method", ["chat_stream", "pull", "respond_stream"])
def test_a_stream_without_its_end(ask: Asker, script: Script, method: str, reply: Reply) -> None:
    script.plays(reply)
    with pytest.raises(HutchError) as caught:
        ask(method, *(["m"] if method == "pull" else ["m", "hi"]))
    assert isinstance(caught.value, BrokenOff if method != "respond_stream" else HutchError)
    assert len(script.asked) == 1  # what has begun is not asked again


def test_an_error_in_mid_stream_comes_after_what_came_before(script: Script) -> None:
    script.plays(lines(PIECE, {"error": "the worker ended", "code": "engine_failed", "hint": "Again."}))
    got = []
    with Client(script.url) as client, pytest.raises(errors.EngineFailed, match="the worker ended") as caught:  # noqa: PT012
        for piece in client.chat_stream("m", "hi"):
            got.append(piece.text)
    assert got == ["Hi"]
    assert caught.value.hint == "Again."


def test_an_error_among_events(ask: Asker, script: Script) -> None:
    event = {"type": "error", "code": "engine_failed", "message": "the worker ended", "param": None}
    script.plays(Reply(200, [b"event: error\ndata: " + json.dumps(event).encode() + b"\n\n"]))
    with pytest.raises(errors.EngineFailed, match="the worker ended"):
        ask("respond_stream", "m", "hi")


def test_a_200_that_hides_a_failure(ask: Asker, script: Script) -> None:
    script.plays(told({"error": "no", "code": "engine_failed"}))
    with pytest.raises(errors.EngineFailed):
        ask("chat", "m", "hi")


def test_a_whole_answer_that_is_not_done(ask: Asker, script: Script) -> None:
    script.plays(told(PIECE))
    with pytest.raises(BrokenOff):
        ask("chat", "m", "hi")


def test_a_line_without_end(ask: Asker, script: Script) -> None:
    script.plays(Reply(200, [b"x" * (1 << 20)] * ((MAX_LINE_BYTES >> 20) + 64)))
    with pytest.raises(BadAnswer, match="a line of more than 16 MiB"):
        ask("chat_stream", "m", "hi")
    assert script.left.wait(5)


def test_an_answer_of_a_large_size_in_one_line(ask: Asker, script: Script) -> None:
    text = "x" * (MAX_LINE_BYTES - 100)
    script.plays(lines({"message": {"content": text}, "done": True}))
    assert ask("chat_stream", "m", "hi")[0].text == text


@pytest.mark.parametrize("method", ["chat", "chat_stream"])
def test_a_server_that_is_silent(ask: Asker, script: Script, method: str) -> None:
    script.plays(Reply(200, [json.dumps(PIECE).encode() + b"\n", 1.0, b"{}"]))
    begin_s = time.monotonic()
    with pytest.raises(TooSlow, match=r"silent for 0\.2 s"):
        ask(method, "m", "hi", client={"timeout_s": 0.2})
    assert time.monotonic() - begin_s < 0.9
    assert len(script.asked) == 1


def test_a_slow_stream_that_goes_on_is_not_silent(ask: Asker, script: Script) -> None:
    line = json.dumps(PIECE).encode() + b"\n"
    script.plays(Reply(200, [*(0.2, line) * 4, json.dumps(DONE).encode() + b"\n"]))
    assert len(ask("chat_stream", "m", "hi", client={"timeout_s": 0.6})) == 5


def test_leaving_a_stream_closes_the_connection(script: Script) -> None:
    script.plays(Reply(200, [json.dumps(PIECE).encode() + b"\n", *(0.02, b" " * 65536) * 500]))
    with Client(script.url) as client, client.chat_stream("m", "hi") as stream:
        assert next(stream).text == "Hi"
    assert script.left.wait(5)
    assert list(stream) == []


async def _leave(url: str) -> list[Any]:
    async with AsyncClient(url) as client:
        async with await client.chat_stream("m", "hi") as stream:
            assert (await anext(stream)).text == "Hi"
        return [piece async for piece in stream]


def test_leaving_an_asynchronous_stream_closes_the_connection(script: Script) -> None:
    script.plays(Reply(200, [json.dumps(PIECE).encode() + b"\n", *(0.02, b" " * 65536) * 500]))
    assert asyncio.run(_leave(script.url)) == []
    assert script.left.wait(5)


def test_the_key_goes_along(ask: Asker, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    script.plays(MODELS)
    ask("list", client={"api_key": "k1"})
    monkeypatch.setenv("HUTCH_API_KEY", "k2")
    ask("list")
    ask("list", client={"api_key": ""})
    assert [asked.headers.get("authorization") for asked in script.asked] == ["Bearer k1", "Bearer k2", None]


@pytest.mark.parametrize("variable", ["HUTCH_HOST", "OLLAMA_HOST"])
def test_the_address_of_the_environment(
    script: Script, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("HUTCH_HOST", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, script.url.replace("127.0.0.1", "0.0.0.0"))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")  # not for this machine
    script.plays(MODELS)
    with Client() as client:
        assert client.list() == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "ftp://x"},
        {"base_url": "a@b"},
        {"api_key": "a\nb"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_settings_that_cannot_be(kind: Any, settings: Any) -> None:
    with pytest.raises(errors.BadInput):
        kind(**settings)


@pytest.mark.parametrize("address", ["\x00", "[::1", "::::"])
def test_an_address_that_cannot_be(ask: Asker, address: str) -> None:
    with pytest.raises(errors.BadInput, match="invalid address") as caught:
        ask("list", client={"base_url": address})
    assert caught.value.hint == "Write host:port or http://host:port."


def test_a_name_that_dns_cannot_hold() -> None:
    with Client("x" * 64) as client, pytest.raises(errors.BadInput, match="invalid address"):
        client.list()


def test_another_patience_for_one_call(script: Script) -> None:
    script.plays(Reply(200, [0.4, b'{"models": []}']))
    with Client(script.url) as client:
        with pytest.raises(TooSlow):
            client.with_timeout(0.1).list()
        assert client.list() == ()


@pytest.mark.parametrize("times", [-1])
def test_retries_that_cannot_be(times: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        Retries(times=times)


def test_importing_hutch_loads_nothing_and_its_client_little() -> None:
    code = """
import sys, hutch
assert not {"httpx2", "typing", "hutch.core", "hutch.sdk"} & set(sys.modules), "import hutch"
from hutch import AsyncClient, Client, HutchError, Retries
heavy = {"pydantic", "starlette", "uvicorn", "rich", "prompt_toolkit", "jinja2", "numpy", "xllamacpp"} & set(sys.modules)
assert not heavy, heavy
assert {name for name in sys.modules if name.startswith("hutch.")} <= {
    "hutch.core", "hutch.core.errors", "hutch.places", "hutch.sdk",
    *(name for name in sys.modules if name.startswith("hutch.sdk.")),
}
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=clean_environment(PYTHONPATH=":".join(sys.path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"Client", "AsyncClient"} <= set(dir(hutch))
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        hutch.Clint  # noqa: B018
