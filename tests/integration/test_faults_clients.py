"""Clients that leave, that come all at once, and that read slowly: slots are freed, the line has an end."""

import concurrent.futures
import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import (
    GREEDY,
    LONG,
    Reply,
    Streaming,
    ask,
    eventually,
    generate,
    num_working,
    num_written,
    running,
)

SAY = [{"role": "user", "content": "Count to a thousand."}]
LONG_TEXT = "Why is the sky blue? " * 80  # some 500 tokens: one step of the engine
IN_STEP_S = 0.5
FEW_STEPS = 5  # where the machine is so busy that a step takes longer


@pytest.fixture
def worker(server: Server) -> str:
    """The socket of the model's worker, with nothing at work in it."""
    assert generate(server, options={"num_predict": 1}).status == 200
    path = str(running(server)[MODEL]["socket"])
    eventually(lambda: not num_working(path), 10, "the worker is idle")
    return path


@EVERY_ENGINE
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/generate", {"prompt": "Count.", "options": LONG}),
        ("/api/chat", {"messages": SAY, "options": LONG}),
        ("/api/chat", {"messages": SAY, "options": LONG, "stream": False}),
        ("/v1/chat/completions", {"messages": SAY, "stream": True, "max_tokens": 2000}),
        ("/v1/chat/completions", {"messages": SAY, "max_tokens": 2000}),
        ("/v1/completions", {"prompt": "One, two,", "stream": True, "max_tokens": 2000}),
    ],
    ids=lambda value: value if isinstance(value, str) else "stream" if value.get("stream", True) else "whole",
)
def test_a_client_that_leaves_while_the_model_writes_frees_its_slot(
    server: Server, worker: str, path: str, body: dict[str, Any]
) -> None:
    with Streaming(server, path, {"model": MODEL, **body}):
        written = eventually(
            lambda: num_written(worker) > 3 and num_written(worker), 40, "the answer has begun"
        )
    left = time.monotonic()
    while num_working(worker):
        steps, waited_s = num_written(worker) - written, time.monotonic() - left
        assert waited_s < IN_STEP_S or steps < FEW_STEPS, f"{steps} tokens in {waited_s:.1f} s"
        assert waited_s < 30
    eventually(lambda: not running(server)[MODEL]["busy"], 5, "the front knows")


@EVERY_ENGINE
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_while_its_prompt_is_read_stops_that_after_one_step(
    server: Server, worker: str, stream: bool
) -> None:
    body = {"model": MODEL, "prompt": f"{stream} {LONG_TEXT * 6}", "stream": stream, "options": LONG}
    with Streaming(server, "/api/generate", body):
        eventually(lambda: num_working(worker), 10, "the prompt is being read")
    eventually(lambda: not running(server)[MODEL]["busy"], 5, "the front knows")
    one_step = {"model": MODEL, "prompt": f"again {stream} {LONG_TEXT}", "stream": False}
    reply = ask(server, "POST", "/api/generate", one_step | {"options": {"num_predict": 1}}).json
    step_s = reply["prompt_eval_duration"] / 1e9 * 512 / reply["prompt_eval_count"]
    eventually(lambda: not num_working(worker), IN_STEP_S + 2 * step_s, "the slot is free")


@EVERY_ENGINE
def test_a_client_that_leaves_while_it_waits_in_line_leaves_the_line(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir, NUM_PARALLEL="1")
    with Streaming(server, "/api/chat", {"model": MODEL, "messages": SAY, "options": LONG}) as first:
        next(first.events())
        with Streaming(server, "/api/chat", {"model": MODEL, "messages": SAY, "options": LONG}):
            eventually(lambda: running(server)[MODEL]["queued"] == 1, 5, "the second waits")
        eventually(lambda: running(server)[MODEL]["queued"] == 0, 5, "nobody waits")
    assert generate(server).status == 200


@EVERY_ENGINE
def test_a_client_that_leaves_while_the_model_loads_leaves_it_loaded(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir)
    with Streaming(server, "/api/chat", {"model": MODEL, "messages": SAY, "options": LONG}):
        eventually(lambda: running(server), 10, "the model is being loaded")
    row = eventually(
        lambda: running(server)[MODEL]["state"] == "ready" and running(server)[MODEL],
        20,
        "the model is loaded",
    )
    eventually(lambda: not running(server)[MODEL]["busy"], 5, "nobody uses it")
    assert not num_working(row["socket"])
    assert generate(server).status == 200


@EVERY_ENGINE
def test_a_client_that_reads_nothing_does_not_keep_others_from_their_answers(server: Server) -> None:
    body = json.dumps({"model": MODEL, "messages": SAY, "options": LONG}).encode()
    head = f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    place = urlsplit(server.url)
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        silent.connect((place.hostname, place.port))
        silent.sendall(head.encode() + body)
        eventually(lambda: running(server).get(MODEL, {}).get("busy"), 20, "it is being answered")
        assert generate(server).json["done"]


@EVERY_ENGINE
def test_twenty_requests_at_once_on_four_slots_are_all_answered_in_full(server: Server, worker: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: generate(server), range(20)))
    assert [reply.status for reply in replies] == [200] * 20
    assert {reply.json["eval_count"] for reply in replies} == {GREEDY["num_predict"]}
    assert all(reply.json["response"] for reply in replies)
    assert not num_working(worker)


def test_two_hundred_open_connections_do_not_stop_the_next_one(server: Server) -> None:
    place = urlsplit(server.url)
    idle = [socket.create_connection((place.hostname, place.port)) for _ in range(200)]
    try:
        assert ask(server, "GET", "/api/version").status == 200
        assert generate(server).status == 200
    finally:
        for connection in idle:
            connection.close()


@EVERY_ENGINE
def test_one_connection_carries_request_after_request(server: Server) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    texts = set()
    for _ in range(3):
        body = {"model": MODEL, "prompt": "Hi", "stream": False, "options": GREEDY}
        connection.request("POST", "/api/generate", json.dumps(body))
        reply = connection.getresponse()
        texts.add(json.load(reply)["response"])
        connection.request("POST", "/api/generate", b"{")
        assert connection.getresponse().read()
    connection.close()
    assert len(texts) == 1


@pytest.fixture(scope="module")
def narrow(serve: Callable[..., Server], models_dir: Path) -> Server:
    """A server with one slot, and one place in the line for it."""
    server = serve(models_dir, NUM_PARALLEL="1", MAX_QUEUE="1")
    assert generate(server).status == 200
    return server


@EVERY_ENGINE
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_a_full_line_answers_503_and_says_when_to_come_back(narrow: Server, path: str) -> None:
    body = {"model": MODEL, "messages": SAY, "options": LONG, "stream": True}
    with Streaming(narrow, "/api/chat", body) as first, concurrent.futures.ThreadPoolExecutor(1) as pool:
        next(first.events())
        second = pool.submit(generate, narrow)
        eventually(lambda: running(narrow)[MODEL]["queued"] == 1, 5, "the second waits")
        third = ask(narrow, "POST", path, {"model": MODEL, "messages": SAY})
        assert third.status == 503
        assert int(third.headers["Retry-After"]) >= 1
        assert third.error.startswith("server busy, please try again.  maximum pending requests exceeded")
        first.__exit__(None, None, None)
        assert second.result(20).status == 200


@EVERY_ENGINE
def test_a_cold_model_asked_for_by_many_at_once_is_loaded_once(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir, MAX_QUEUE="100")

    def first(_: int) -> Reply:
        return generate(server, options={"num_predict": 2, "temperature": 0})

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(first, range(12)))
    assert {reply.status for reply in replies} == {200}
    assert list(running(server)) == [MODEL]
    assert (server.home / "serve.log").read_text(encoding="utf-8").count(f"loaded {MODEL}") == 1
