"""A `hutch serve` of its own for a measurement: free port, its own home, the models of a given folder."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 60.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def call(
        self, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = 120
    ) -> dict[str, Any]:
        """Ask it something and return the JSON of its answer; any status but 200 raises."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            if body is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}: {text[:500].decode(errors='replace')}")
        answer = json.loads(text)
        return answer if isinstance(answer, dict) else {}

    def load(self, model: str) -> dict[str, Any]:
        """Load a model for an hour, and return its line of `/api/ps`."""
        self.call("/api/generate", {"model": model, "stream": False, "keep_alive": "1h"})
        running: list[dict[str, Any]] = self.call("/api/ps")["models"]
        for line in running:
            if model in (line["name"], line["model"]):
                return line
        raise RuntimeError(f"{model} is not among the running models: {[line['name'] for line in running]}")

    def stop(self) -> float:
        """End it as an operator does, and return how many seconds that took."""
        started_s = time.perf_counter()
        self.process.terminate()
        self.process.wait(STOP_S)
        return time.perf_counter() - started_s


@contextmanager
def serving(home: Path, models: Path, more: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Start a server, wait until it answers, and leave none behind. `more` are further environment variables."""
    port = free_port()
    environment = clean_environment() | {
        "HUTCH_HOME": str(home),
        "HUTCH_MODELS": str(models),
        "HUTCH_HOST": f"127.0.0.1:{port}",
        **(more or {}),
    }
    home.mkdir(parents=True, exist_ok=True)
    log = home / "serve.out"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "hutch", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Serving(process, port, log)
    try:
        _wait_until_it_answers(running)
        yield running
    finally:
        if process.poll() is None:
            _end(running)


def clean_environment() -> dict[str, str]:
    """What a subprocess inherits from here, without the settings that would change what is measured."""
    return {
        name: value
        for name, value in os.environ.items()  # noqa: TID251  what a subprocess inherits
        if not name.startswith(("HUTCH_", "OLLAMA_"))
    }


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(running: Serving) -> None:
    stop_s = time.monotonic() + START_S
    while time.monotonic() < stop_s and running.process.poll() is None:
        try:
            running.call("/api/version", timeout_s=5)
        except (OSError, http.client.HTTPException, RuntimeError):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"hutch serve does not answer: {running.log.read_text(errors='replace')[-2000:]}")


def _end(running: Serving) -> None:
    try:
        running.stop()
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.process.wait()
