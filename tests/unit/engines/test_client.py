"""The client of the wire, against a worker that follows a script."""

import asyncio
import itertools
import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines import client as client_module
from hutch.engines.client import WorkerClient, WorkerGone
from hutch.engines.protocol import Endpoint
from tests.unit.engines.scripted import END, HEAD, chunk, event, reply, run, says, worker

EVENTS = [{"content": "a"}, {"content": "ä🦜\n\n"}, {"content": "", "stop": True}]
STREAM = b"".join(map(event, EVENTS)) + b"data: [DONE]\n\n"
ERROR = {"error": {"code": 500, "message": "out of slots", "type": "server_error"}}
TOO_LONG = {
    "error": {
        "code": 400,
        "message": "the request exceeds the available context size",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 5000,
        "n_ctx": 4096,
    }
}


async def listen(client: WorkerClient, into: list[dict[str, Any]]) -> None:
    async with aclosing(client.stream("/completion", {"prompt": "x"})) as events:
        async for each in events:
            into.append(each)


async def heard(client: WorkerClient) -> list[dict[str, Any]]:
    got: list[dict[str, Any]] = []
    await listen(client, got)
    return got


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1 << 20])
def test_events_are_the_same_however_packets_cut_them(size: int) -> None:
    async def scenario() -> None:
        whole = HEAD + chunk(STREAM) + END
        async with worker(says(*cut(whole, size))) as (client, _):
            assert await heard(client) == EVENTS

    run(scenario())


@pytest.mark.parametrize("size", [1, 5, 11])
def test_events_are_the_same_however_chunks_cut_them(size: int) -> None:
    async def scenario() -> None:
        async with worker(says(HEAD + b"".join(map(chunk, cut(STREAM, size))) + END)) as (client, _):
            assert await heard(client) == EVENTS

    run(scenario())


def test_a_reply_without_an_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_MAX_REPLY_BYTES", 1000)

    async def scenario() -> None:
        async with worker(says(HEAD + chunk(b'"' + b"x" * 2000))) as (client, _):
            with pytest.raises(EngineFailed, match="without an end"):
                await client.call("/tokenize", {})

    run(scenario())


def test_a_stream_may_have_a_length_and_words_that_are_no_data() -> None:
    async def scenario() -> None:
        body = b": ping\n\n" + event({"a": 1}) + b"retry: 5\n\n" + event({"a": 2})
        async with worker(says(reply(body))) as (client, _):
            assert await heard(client) == [{"a": 1}, {"a": 2}]

    run(scenario())


def test_an_event_is_there_before_the_next_one_is_sent() -> None:
    async def scenario() -> None:
        first_is_heard = asyncio.Event()

        async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + chunk(event({"n": 1})))
            await first_is_heard.wait()
            writer.write(chunk(event({"n": 2})) + END)

        async with worker(script) as (client, _), aclosing(client.stream("/completion", {})) as events:
            assert await anext(events) == {"n": 1}
            first_is_heard.set()
            assert [each async for each in events] == [{"n": 2}]

    run(scenario())


def test_a_request_says_what_the_worker_must_know() -> None:
    async def scenario() -> None:
        async with worker(says(reply(b"{}"))) as (client, asked):
            await client.call("/tokenize", {"content": "ä\ud800"})
            await client.get("/health")
        assert asked.heads[0].startswith("POST /tokenize HTTP/1.1\r\n")
        assert "Content-Type: application/json\r\n" in asked.heads[0]
        assert asked.heads[1].startswith("GET /health HTTP/1.1\r\n")
        assert all("Connection: close\r\n" in head for head in asked.heads)
        assert asked.bodies == [{"content": "ä\ud800"}, None]

    run(scenario())


def test_on_a_port_the_secret_goes_along() -> None:
    async def scenario() -> None:
        heads: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(reply(b"[1]"))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await WorkerClient(Endpoint(port=port, secret="hush")).get("/slots") == [1]
        server.close()
        assert b"Authorization: Bearer hush\r\n" in heads[0]

    run(scenario())


@pytest.mark.parametrize(
    "failing",
    [chunk(event(ERROR)), chunk(b"error: " + json.dumps(ERROR).encode() + b"\n\n")],
)
def test_an_error_in_mid_stream_is_raised_after_what_came_before_it(failing: bytes) -> None:
    async def scenario() -> None:
        got: list[dict[str, Any]] = []
        async with worker(says(HEAD + chunk(event({"n": 1})), failing + END)) as (client, _):
            with pytest.raises(EngineFailed, match="out of slots"):
                await listen(client, got)
        assert got == [{"n": 1}]

    run(scenario())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"I am no HTTP server\r\n\r\n"])
def test_a_connection_cut_before_the_head_says_that_the_worker_is_gone(said: bytes) -> None:
    async def scenario() -> None:
        async with worker(says(said)) as (client, _):
            with pytest.raises(WorkerGone):
                await heard(client)
            with pytest.raises(WorkerGone):
                await client.call("/tokenize", {})
            with pytest.raises(WorkerGone):
                await client.get("/health")

    run(scenario())


@pytest.mark.parametrize("rest", [b"", chunk(event({"n": 2}))[:-5], b"not a chunk\r\n"])
def test_a_connection_cut_after_the_head_fails_after_what_came(rest: bytes) -> None:
    async def scenario() -> None:
        got: list[dict[str, Any]] = []
        async with worker(says(HEAD + chunk(event({"n": 1})), rest)) as (client, _):
            with pytest.raises(EngineFailed, match="ended before the answer did"):
                await listen(client, got)
        assert got == [{"n": 1}]

    run(scenario())


def test_a_reply_shorter_than_its_length_fails() -> None:
    async def scenario() -> None:
        async with worker(says(reply(b"[1, 2]")[:-1])) as (client, _):
            with pytest.raises(EngineFailed):
                await client.call("/tokenize", {})

    run(scenario())


def test_nobody_listening_says_that_the_worker_is_gone() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        for endpoint in (Endpoint(socket="/nowhere/w.sock"), Endpoint(port=port, secret="s")):
            with pytest.raises(WorkerGone):
                await heard(WorkerClient(endpoint))

    run(scenario())


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\xff\xfe", b"nul"])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error"])
def test_what_is_no_json_is_the_engines_failure(body: bytes, status: str) -> None:
    async def scenario() -> None:
        async with worker(says(reply(body, status))) as (client, _):
            with pytest.raises(EngineFailed, match="no JSON"):
                await client.call("/tokenize", {})
        if body:
            async with worker(says(reply(b"data: " + body + b"\n\n"))) as (client, _):
                with pytest.raises(EngineFailed, match="no JSON"):
                    await heard(client)

    run(scenario())


@pytest.mark.parametrize(
    ("status", "error", "kind", "message"),
    [
        ("400 Bad Request", {"error": {"code": 400, "message": "bad grammar"}}, BadInput, "bad grammar"),
        ("404 Not Found", {"error": {"code": 404, "message": "no such"}}, BadInput, "no such"),
        ("500 Oops", {"error": {"code": 400, "message": "said to be yours"}}, BadInput, "said to be yours"),
        ("500 Oops", {"error": {"code": 500, "message": "mine"}}, EngineFailed, "mine"),
        (
            "503 Unavailable",
            {"error": {"code": 503, "message": "Loading model"}},
            EngineFailed,
            "Loading model",
        ),
        ("500 Oops", {"error": "a bare word"}, EngineFailed, "a bare word"),
        ("400 Bad Request", {"error": "a bare word"}, BadInput, "a bare word"),
        ("502 Bad Gateway", {}, EngineFailed, "the model's worker answered 502"),
        ("502 Bad Gateway", [], EngineFailed, "the model's worker answered 502"),
        ("200 OK", ERROR, EngineFailed, "out of slots"),
    ],
)
def test_a_workers_error_keeps_its_words_and_gets_its_kind(
    status: str, error: object, kind: type[Exception], message: str
) -> None:
    async def scenario() -> None:
        async with worker(says(reply(json.dumps(error).encode(), status))) as (client, _):
            with pytest.raises(kind) as caught:
                await client.call("/completion", {})
            assert type(caught.value) is kind
            assert str(caught.value) == message
            if not status.startswith("200"):
                with pytest.raises(kind):
                    await heard(client)

    run(scenario())


def test_a_prompt_that_is_too_long_is_told_with_its_numbers() -> None:
    async def scenario() -> None:
        as_status = reply(json.dumps(TOO_LONG).encode(), "400 Bad Request")
        as_event = HEAD + chunk(event(TOO_LONG)) + END
        for said in (as_status, as_event):
            async with worker(says(said)) as (client, _):
                with pytest.raises(ContextExceeded, match="5000 tokens exceed 4096") as caught:
                    await heard(client)
                assert (caught.value.prompt_tokens, caught.value.num_ctx) == (5000, 4096)

    run(scenario())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_refused_before_anything_is_sent(number: float) -> None:
    async def scenario() -> None:
        async with worker(says(reply(b"{}"))) as (client, asked):
            with pytest.raises(BadInput, match="no JSON numbers"):
                await client.call("/completion", {"temperature": number})
            assert not asked.heads

    run(scenario())


def test_a_slow_reader_makes_the_worker_wait() -> None:
    async def scenario() -> None:
        total, size, sent = 24 << 20, 64 << 10, 0
        piece = chunk(event({"x": "y" * size}))

        async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(HEAD)
            while sent < total:
                writer.write(piece)
                await writer.drain()
                sent += size
            writer.write(END)

        async with worker(script) as (client, _), aclosing(client.stream("/completion", {})) as events:
            got = len((await anext(events))["x"])
            for _ in range(3000):  # turns of the loop; unhindered, each would carry a piece over
                await asyncio.sleep(0)
            assert sent < 8 << 20
            async for each in events:
                got += len(each["x"])
            assert got == sent == total

    run(scenario())


def ticks(number: int, *, is_whole: bool = True) -> Any:
    """Events one after another, a few milliseconds apart."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for index in range(number):
            writer.write(chunk(event({"n": index})))
            await asyncio.sleep(0.004)
        if is_whole:
            writer.write(END)

    return script


def test_an_answer_goes_on_in_steps_after_its_first_tokens() -> None:
    async def scenario() -> None:
        async with worker(ticks(40)) as (client, _), aclosing(client.stream("/completion", {})) as events:
            loop = asyncio.get_running_loop()
            turns = [loop.time() async for _each in events]
            assert len(turns) == 40
            steps = [later - earlier > 0.002 for earlier, later in itertools.pairwise(turns)]
            assert all(steps[:3]), "the first ones come as they are sent"
            assert sum(steps[4:]) < 25, "later ones come several at a time"

    run(scenario())


def test_the_end_of_an_answer_does_not_wait_for_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hutch.engines.client._PAUSE_S", 20.0)

    async def scenario() -> None:
        got: list[dict[str, Any]] = []
        async with asyncio.timeout(5), worker(ticks(10)) as (client, _):
            assert len(await heard(client)) == 10
        async with asyncio.timeout(5), worker(ticks(10, is_whole=False)) as (client, _):
            with pytest.raises(WorkerGone):
                await listen(client, got)
        assert len(got) == 10

    num_open = len(list(Path("/proc/self/fd").iterdir()))
    run(scenario())
    assert len(list(Path("/proc/self/fd").iterdir())) == num_open


@pytest.mark.parametrize("num_read", [0, 1])
def test_closing_the_iterator_closes_the_connection(num_read: int) -> None:
    async def scenario() -> None:
        is_asked = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            is_asked.set()
            writer.write(HEAD + chunk(event({"n": 1})) * num_read)
            try:
                await reader.read()
            finally:
                asked.hung_up.set()

        async with worker(script) as (client, asked):
            events = client.stream("/completion", {})
            reading = asyncio.ensure_future(anext(events))
            await is_asked.wait()
            if num_read:
                assert await reading == {"n": 1}
            else:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await events.aclose()
            await asked.hung_up.wait()

    run(scenario())


def test_an_event_without_an_end_is_given_up() -> None:
    async def scenario() -> None:
        async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD)
            while True:
                writer.write(chunk(b"x" * (1 << 20)))
                await writer.drain()

        async with worker(script) as (client, _):
            with pytest.raises(EngineFailed, match="without an end"):
                await heard(client)

    run(scenario())


def test_a_worker_that_does_not_answer_a_get_in_time_has_failed() -> None:
    async def scenario() -> None:
        async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with worker(script) as (client, _):
            with pytest.raises(EngineFailed, match=r"did not answer within 0\.01 s"):
                await client.get("/health", timeout_s=0.01)

    run(scenario())


@pytest.fixture
def full() -> Iterator[tuple[str, socket.socket]]:
    """The socket of a worker that has taken nobody yet, and has no room for another caller."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as first,
    ):
        path = str(Path(folder) / "w.sock")
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        yield path, listener


def test_a_worker_that_has_too_many_callers_is_called_again(full: tuple[str, socket.socket]) -> None:
    path, listener = full

    async def answer() -> None:
        await asyncio.sleep(0.05)
        listener.accept()[0].close()
        there, _ = listener.accept()
        there.recv(1 << 16)
        there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        there.close()

    async def scenario() -> None:
        asked = asyncio.create_task(WorkerClient(Endpoint(socket=path)).get("/health"))
        await asyncio.sleep(0.01)
        threaded = asyncio.to_thread(asyncio.run, answer())
        assert (await asyncio.gather(asked, threaded))[0] == {}

    run(scenario())


def test_a_worker_that_nobody_can_reach_any_more_is_gone(
    full: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_CALL_WITHIN_S", 0.05)

    async def scenario() -> None:
        with pytest.raises(WorkerGone):
            await WorkerClient(Endpoint(socket=full[0])).get("/health")

    run(scenario())
