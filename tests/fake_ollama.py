"""A scripted server that speaks Ollama's API on loopback, for tests of clients."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import hutch


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers: one `body`, or `lines` of NDJSON, of which an int is a pause in seconds."""

    body: Any = None
    lines: Sequence[Any] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    key: str
    body: Any


@dataclass
class FakeOllama:
    """The script by path (or method and path), and what was asked. `broken_off` is set when a client left in mid-stream."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    broken_off: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def host(self) -> str:
        """The value for HUTCH_HOST."""
        return f"127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Any]:
        """The bodies that came for a path."""
        return [request.body for request in self.requests if request.path == path]


def chat_lines(*words: str, **last: Any) -> list[Any]:
    """The lines of an answer of `/api/chat`."""
    said = [{"message": {"role": "assistant", "content": word}, "done": False} for word in words]
    return [*said, {"message": {"role": "assistant", "content": ""}, "done": True, **last}]


def generate_lines(*words: str, **last: Any) -> list[Any]:
    """The lines of an answer of `/api/generate`."""
    return [*({"response": word, "done": False} for word in words), {"response": "", "done": True, **last}]


def model_row(name: str, **more: Any) -> dict[str, Any]:
    """One model of `/api/tags` or `/api/ps`."""
    return {"name": name, "model": name, "digest": "0123456789abcdef" * 4, "size": 98_374_128, **more}


@contextmanager
def serving(**answers: Answer) -> Iterator[FakeOllama]:
    """Serve in a thread. Keywords are paths: `api_tags` is `/api/tags`."""
    fake = FakeOllama()
    fake.answers = {"/api/version": Answer({"version": "0.33.0", "hutch": hutch.__version__})}
    fake.answers |= {"/" + name.replace("_", "/"): answer for name, answer in answers.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(fake: FakeOllama) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_json = raw[:1] in (b"{", b"[")
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            fake.requests.append(Request(self.command, self.path, key, json.loads(raw) if is_json else raw))
            unknown = Answer({"error": f"no route {self.path}"}, status=404)
            by_method = fake.answers.get(f"{self.command} {self.path}")
            answer = by_method or fake.answers.get(self.path, unknown)
            self.send_response(answer.status)
            if answer.lines:
                self.send_header("Content-Type", "application/x-ndjson")
                self.end_headers()
                self._stream(answer.lines)
                return
            body = b"" if answer.body is None or self.command == "HEAD" else json.dumps(answer.body).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, lines: Sequence[Any]) -> None:
            try:
                for line in lines:
                    if isinstance(line, int | float):
                        time.sleep(line)
                        continue
                    self.wfile.write(json.dumps(line).encode() + b"\n")
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                fake.broken_off.set()

        do_GET = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    return Handler
