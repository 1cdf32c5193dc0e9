"""What one client may do to the others: nothing. Raw sockets against the front, with its deadlines made short."""

import asyncio
import hashlib
import logging
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hutch.api import body, connection, server
from hutch.api.activity import Activity
from hutch.api.connection import Connection
from hutch.api.gate import Gate
from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.api.stream import NDJSON, Stream
from hutch.app import App
from hutch.config import Settings
from hutch.core.access import Action
from hutch.places import Address
from hutch.security.authn import Authenticator, Keys, Open
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog
from tests.fakes import FakeBackend
from tests.gguf_files import tiny_model
from tests.keys import key

KEY = "right"
KEYS = Keys(lambda: (key(KEY),))
BIG = 64 << 10


@contextmanager
def listening(app: ASGIApp) -> Iterator[int]:
    """The application behind Hutch's own connections; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = uvicorn.Config(app, http=Connection, ws="none", log_config=None, lifespan="off")
        front = uvicorn.Server(settings)
        thread = threading.Thread(target=lambda: asyncio.run(front.serve([listener])), daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        front.should_exit = front.force_exit = True
        thread.join(10)
        assert not thread.is_alive()


def made(
    folder: Path, authenticator: Authenticator | None = None, activity: Activity | None = None
) -> ASGIApp:
    """The real application over a backend that plays parts."""
    store = ModelStore(folder / "models", lambda: Catalog({}))
    parts = App(Settings(), store, FakeBackend(), authenticator or Open())
    return server.create_app(parts, Address.parse("127.0.0.1"), activity or Activity())


def connected(port: int) -> socket.socket:
    """A connection to it."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def all_of(client: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    data = b""
    with suppress(ConnectionResetError):
        while piece := client.recv(BIG):
            data += piece
    return data


def asked(port: int, head: str, sent: bytes = b"") -> bytes:
    """The whole reply to one request."""
    with connected(port) as client:
        client.sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode() + sent)
        return all_of(client)


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, and tells how long it was."""
    size = sum([len(piece) async for piece in Request(scope, receive).stream()])
    text = str(size).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 20_000,
        b"\r\n" * 50_000,
    ],
    ids=["address", "one header", "many headers", "empty lines"],
)
def test_a_head_without_end_is_refused(start: bytes) -> None:
    with listening(fine) as port, connected(port) as client:
        with suppress(ConnectionError):
            client.sendall(start)
        assert all_of(client).startswith(b"HTTP/1.1 431 ")


def test_a_head_that_ends_in_time_is_none_of_that() -> None:
    with listening(fine) as port, connected(port) as client:
        for size in (10, 1 << 20):
            client.sendall(b"POST / HTTP/1.1\r\nX: " + b"x" * 60_000 + b"\r\n")
            client.sendall(b"Content-Length: %d\r\n\r\n" % size + b"y" * size)
            reply = b""
            while not reply.endswith(b"\r\n\r\n%d" % size):
                reply += client.recv(BIG)
            assert reply.startswith(b"HTTP/1.1 200 ")


def test_trailers_without_end_are_cut_off() -> None:
    with listening(fine) as port, connected(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        with suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"X: 1\r\n" * 1000)
        assert b" 200 " not in all_of(client)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"\r\n"])
def test_who_does_not_say_what_it_wants_is_not_waited_for(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    with listening(fine) as port, connected(port) as client:
        began = time.monotonic()
        with suppress(ConnectionError):
            for byte in said:
                client.sendall(bytes([byte]))
        assert all_of(client) == b""
        assert time.monotonic() - began < 5


def test_a_second_request_may_not_dawdle_either_but_a_quiet_connection_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    with listening(fine) as port, connected(port) as client:
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.6)
            assert client.recv(BIG).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /")
        assert all_of(client) == b""


def test_an_empty_line_after_a_request_does_not_end_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.2)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.8)
        await fine(scope, receive, send)

    with listening(slow) as port, connected(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        time.sleep(0.1)
        client.sendall(b"\r\n")
        assert client.recv(BIG).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_reads_nothing_is_dropped_and_its_work_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_S", 0.5)
    ended = threading.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * BIG
                await asyncio.sleep(0)  # as every engine's answer does
        finally:
            ended.set()

    async def handle(_: Call) -> Stream:
        return Stream(endless(), NDJSON, lambda _: b"")

    app = Gate(Open(), BIG).endpoint(Route(("GET",), "/", Action.HEALTH, handle, OLLAMA))
    with listening(app) as port, connected(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ended.wait(10)


def test_a_client_that_reads_slowly_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_S", 0.5)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def much() -> AsyncGenerator[bytes, None]:
            for _ in range(40):
                yield b"x" * (1 << 20)

        await Stream(much(), NDJSON, lambda _: b"")(scope, receive, send)

    with listening(app) as port, connected(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        size = 0
        while piece := client.recv(1 << 20):
            size += len(piece)
            time.sleep(0.01)
        assert size > 40 << 20


def stalled(port: int) -> socket.socket:
    """An upload of which nothing more comes."""
    client = connected(port)
    digest = "0" * 64
    client.sendall(
        f"POST /api/blobs/sha256:{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab".encode()
    )
    return client


def test_stalled_uploads_leave_the_rest_at_work_and_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "PIECE_S", 1.5)
    with listening(made(tmp_path)) as port, ExitStack() as stack:
        clients = [stack.enter_context(stalled(port)) for _ in range(20)]
        with ThreadPoolExecutor(10) as pool:
            began = time.monotonic()
            replies = list(pool.map(lambda _: asked(port, "GET /api/tags"), range(10)))
            assert time.monotonic() - began < 1.4
        assert all(reply.startswith(b"HTTP/1.1 200 ") for reply in replies)
        found = sorted(client.recv(BIG).split()[1] for client in clients)
        assert found == [b"408"] * 8 + [b"503"] * 12
        assert not list((tmp_path / "models" / "blobs").iterdir())
        data = tiny_model()
        digest = hashlib.sha256(data).hexdigest()
        head = f"POST /api/blobs/sha256:{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        client = stack.enter_context(connected(port))
        client.sendall(head.encode() + data)
        assert client.recv(BIG).startswith(b"HTTP/1.1 201 ")


def test_a_stalled_upload_does_not_keep_the_server_from_leaving(tmp_path: Path) -> None:
    began = time.monotonic()
    with listening(made(tmp_path)) as port, stalled(port):
        time.sleep(0.3)
    assert time.monotonic() - began < 5


def test_an_open_request_keeps_a_server_from_leaving(tmp_path: Path) -> None:
    activity = Activity()
    with listening(made(tmp_path, activity=activity)) as port:
        with stalled(port):
            time.sleep(0.3)
            assert (activity.num_open, activity.idle_s) == (1, 0.0)
        eventually(lambda: not activity.num_open)
        asked(port, "GET /healthz")
        assert activity.num_open == 0


def eventually(probe: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + 5
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("head", "closed", "opened"),
    [
        ("GET /nowhere", b"401", b"404"),
        ("GET /v1/nowhere", b"401", b"404"),
        ("PUT /api/chat", b"401", b"405"),
        ("GET /api/tags/", b"401", b"404"),
        ("GET /healthz", b"200", b"200"),
    ],
)
def test_what_is_not_there_is_told_only_to_who_may_come_in(
    tmp_path: Path, head: str, closed: bytes, opened: bytes
) -> None:
    with listening(made(tmp_path, KEYS)) as port:
        assert asked(port, head).split()[1] == closed
        with_key = asked(port, f"{head} HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nX:")
        assert with_key.split()[1] == opened
    if "tags" not in head:
        with listening(made(tmp_path)) as port:
            assert asked(port, head).split()[1] == opened


def test_the_server_is_not_ready_without_a_model_folder_or_while_it_leaves(tmp_path: Path) -> None:
    activity = Activity()
    with listening(made(tmp_path, activity=activity)) as port:
        assert asked(port, "GET /readyz").split()[1] == b"200"
        assert not (tmp_path / "models").exists()
        (tmp_path / "models").write_bytes(b"no folder")
        reply = asked(port, "GET /readyz")
        assert reply.split()[1] == b"503"
        assert b"the model folder cannot be read" in reply
        (tmp_path / "models").unlink()
        (tmp_path / "models").mkdir()
        assert asked(port, "GET /readyz").split()[1] == b"200"
        activity.is_leaving = True
        assert b"shutting down" in asked(port, "GET /readyz")
        assert asked(port, "GET /healthz").split()[1] == b"200"


def test_a_damaged_model_can_be_deleted(tmp_path: Path) -> None:
    manifest = tmp_path / "models/manifests/registry.ollama.ai/library/bad/latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(b"{")
    with listening(made(tmp_path)) as port:
        head = "DELETE /api/delete HTTP/1.1\r\nContent-Length: {}\r\nX: 1\r\nY:"
        for name, status in (("bad", b"200"), ("bad", b"404")):
            sent = b'{"model": "%s"}' % name.encode()
            assert asked(port, head.format(len(sent)), sent).split()[1] == status
    assert not manifest.exists()


def test_a_field_that_create_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    with listening(made(tmp_path)) as port:
        sent = b'{"model": "x", "from": "y", "remote_host": "h"}'
        reply = asked(port, f"POST /api/create HTTP/1.1\r\nContent-Length: {len(sent)}\r\nX:", sent)
    assert b"remote" in reply


def test_names_of_options_cannot_forge_lines_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), listening(made(tmp_path)) as port:
        sent = b'{"model": "tiny", "prompt": "a", "options": {"x\\nforged \\u001b[31m": 1}}'
        asked(port, f"POST /api/generate HTTP/1.1\r\nContent-Length: {len(sent)}\r\nX:", sent)
    [line] = [record.getMessage() for record in caplog.records if "invalid option" in record.getMessage()]
    assert line == r"invalid option provided: 'x\nforged \x1b[31m'"
