"""Servers as processes of their own for a measurement: a free port, a log, and an end whatever happens."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 120.0
STOP_S = 30.0
LOOK_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started. It is ready when it answers this path with a status below 500."""

    argv: Sequence[str | Path]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/api/version"
    ends_with_input: bool = False  # it runs as long as its standard input is open


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    began_s: float  # perf_counter, before its process was there

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def call(
        self, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = 120
    ) -> dict[str, Any]:
        """Ask it something and return the JSON of its answer; any status but 200 raises."""
        return call(self.port, path, body, timeout_s)

    def load(self, model: str) -> dict[str, Any]:
        """Load a model for an hour, and return its line of `/api/ps`."""
        self.call("/api/generate", {"model": model, "stream": False, "keep_alive": "1h"})
        return loaded_row(self.port, model)

    def stop(self) -> float:
        """End it as an operator does, and return how many seconds that took."""
        started_s = time.perf_counter()
        self.process.terminate()
        self.process.wait(STOP_S)
        return time.perf_counter() - started_s


@contextmanager
def serving(home: Path, models: Path, more: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Start a Hutch, wait until it answers, and leave none behind. `more` are further environment variables."""
    home.mkdir(parents=True, exist_ok=True)
    with running(hutch(home, models, more or {}), home / "serve.out") as started:
        yield started


def hutch(home: Path, models: Path, more: Mapping[str, str]) -> Command:
    """A Hutch with a home of its own."""
    port = free_port()
    environment = {
        "HUTCH_HOME": str(home),
        "HUTCH_MODELS": str(models),
        "HUTCH_HOST": f"127.0.0.1:{port}",
        **more,
    }
    return Command((sys.executable, "-m", "hutch", "serve"), port, environment)


@contextmanager
def running(command: Command, log: Path) -> Iterator[Serving]:
    """Start a server, wait until it answers, and leave none behind."""
    began_s = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.argv,
            env={**clean_environment(), **command.environment},
            stdin=subprocess.PIPE if command.ends_with_input else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    started = Serving(process, command.port, log, began_s)
    try:
        _wait_until_it_answers(started, command)
        yield started
    finally:
        if process.stdin:
            process.stdin.close()
        if process.poll() is None:
            _end(started)


def clean_environment() -> dict[str, str]:
    """What a subprocess inherits from here, without the settings that would change what is measured."""
    return {
        name: value
        for name, value in os.environ.items()  # noqa: TID251  what a subprocess inherits
        if not name.startswith(("HUTCH_", "OLLAMA_", "LLAMA_"))
    }


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def call(
    port: int, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = 120
) -> dict[str, Any]:
    """Ask a server of this machine something and return the JSON of its answer; any status but 200 raises."""
    status, text = _answer(port, path, body, timeout_s)
    if status != 200:
        raise RuntimeError(f"{path}: {status}: {text[:500].decode(errors='replace')}")
    answer = json.loads(text)
    return answer if isinstance(answer, dict) else {}


def loaded_row(port: int, model: str) -> dict[str, Any]:
    """The line of `/api/ps` of a model that a Hutch has loaded."""
    rows: list[dict[str, Any]] = call(port, "/api/ps")["models"]
    for row in rows:
        if model in (row["name"], row["model"], row["name"].removesuffix(":latest")):
            return row
    raise RuntimeError(f"{model} is not among the running models: {[row['name'] for row in rows]}")


def _answer(port: int, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _wait_until_it_answers(started: Serving, command: Command) -> None:
    stop_s = time.monotonic() + START_S
    while time.monotonic() < stop_s and started.process.poll() is None:
        try:
            status, _ = _answer(started.port, command.ready, None, 5)
        except (OSError, http.client.HTTPException):
            status = 503
        if status < 500:
            return
        time.sleep(LOOK_AGAIN_S)
    words = " ".join(map(str, command.argv[:4]))
    raise RuntimeError(f"{words} does not answer: {started.log.read_text(errors='replace')[-1000:]}")


def _end(started: Serving) -> None:
    try:
        started.stop()
    except subprocess.TimeoutExpired:
        started.process.kill()
        started.process.wait()
