"""A running server as a test sees it: raw requests, its table of models, its workers' slots, its processes."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import pytest

from tests.conftest import MODEL, Server, clean_environment, free_port, wait_until_ready

T = TypeVar("T")
LONG = {"num_predict": 2000, "temperature": 0, "stop": []}  # goes on for some ten seconds
GREEDY = {"temperature": 0, "num_predict": 12}


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The body as lines of JSON."""
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def error(self) -> str:
        """The message of an error, in whichever dialect."""
        error = self.json["error"]
        return str(error["message"] if isinstance(error, dict) else error)


def ask(
    server: Server,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request. Bytes go as they are, anything else as JSON."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read())
    finally:
        connection.close()


def generate(server: Server, model: str = MODEL, prompt: str = "Why is the sky blue?", **more: Any) -> Reply:
    """Ask for a few words, the same for the same prompt."""
    body = {"model": model, "prompt": prompt, "stream": False, "options": GREEDY, **more}
    return ask(server, "POST", "/api/generate", body)


class Streaming:
    """A POST whose reply is read line by line while it comes. Leaving the `with` hangs up."""

    def __init__(self, server: Server, path: str, body: Mapping[str, Any], timeout_s: float = 60) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=timeout_s)
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        if hasattr(self, "reply"):
            self.reply.close()

    def wait(self) -> http.client.HTTPResponse:
        """The reply, as soon as its headers are there."""
        self.reply = self._connection.getresponse()
        return self.reply

    def lines(self) -> Iterator[bytes]:
        """Every line that is not empty."""
        self.wait()
        assert self.reply.status == 200, self.reply.read()
        while line := self.reply.readline():
            if line.strip():
                yield line.strip()

    def events(self) -> Iterator[Any]:
        """The JSON of every line, of NDJSON or of server-sent events; `[DONE]` as a text."""
        for line in self.lines():
            data = line.removeprefix(b"data: ")
            yield "[DONE]" if data == b"[DONE]" else json.loads(data)


def eventually(probe: Callable[[], T], within_s: float, what: str) -> T:
    """What the probe returns once that is true of it; fails where it is not in time."""
    deadline = time.monotonic() + within_s
    while True:
        if found := probe():
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"after {within_s:g} s still not: {what}")
        time.sleep(0.01)


def running(server: Server) -> dict[str, Any]:
    """The loaded models by name."""
    return {row["name"]: row for row in ask(server, "GET", "/api/ps").json["models"]}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("worker", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def worker_json(socket_path: str, path: str, body: object = None) -> Any:
    """What a worker itself answers to a GET; with a body, to a POST."""
    connection = _UnixConnection(socket_path)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body))
        return json.load(connection.getresponse())
    finally:
        connection.close()


def num_working(socket_path: str) -> int:
    """How many of a worker's slots are at work, by its own account."""
    return sum(bool(slot["is_processing"]) for slot in worker_json(socket_path, "/slots"))


def num_written(socket_path: str) -> int:
    """How many tokens the longest answer in a worker's slots has so far."""
    slots = worker_json(socket_path, "/slots")
    return max(
        (int(slot["next_token"][0]["n_decoded"]) for slot in slots if slot["is_processing"]), default=0
    )


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children(pid: int) -> set[int]:
    """The direct children of a process that run."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] not in "ZX":
            found.add(int(entry.parent.name))
    return found


def own_models(models_dir: Path, folder: Path) -> Path:
    """A model folder to change, with hard links to the blobs of `models_dir`."""
    for source in models_dir.rglob("*"):
        target = folder / source.relative_to(models_dir)
        if source.is_file() and ".loaded" not in source.parts:  # which is another server's
            target.parent.mkdir(parents=True, exist_ok=True)
            if "blobs" in source.parts:
                os.link(source, target)
            else:
                target.write_bytes(source.read_bytes())
    return folder


@contextmanager
def serving(home: Path, models: Path, *arguments: str, host: str = "", **settings: str) -> Iterator[Server]:
    """A server with arguments of its own, or listening elsewhere than on 127.0.0.1."""
    home.mkdir(exist_ok=True)
    port = free_port()
    variables = {"HOME": str(home), "MODELS": str(models), "HOST": f"{host or '127.0.0.1'}:{port}"} | settings
    with (home / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hutch", "serve", *arguments],
            env=clean_environment(**{f"HUTCH_{name}": value for name, value in variables.items()}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = Server(f"http://127.0.0.1:{port}", home, process)
    try:
        wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def said(server: Server) -> str:
    """What the server wrote to its terminal."""
    return (server.home / "serve.log").read_text(encoding="utf-8")
