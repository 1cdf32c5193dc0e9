"""A server on loopback that answers each request by a script, down to the byte. For tests of clients."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, and a body in pieces, of which a number is a pause in seconds. A reply with `breaks` ends in mid-chunk."""

    status: int = 200
    pieces: Sequence[bytes | float] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks: bool = False


def told(body: Any, status: int = 200, **headers: str) -> Reply:
    """JSON in one piece. A keyword is a header: `retry_after` is `Retry-After`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, [json.dumps(body).encode()], named)


def lines(*objects: Any, breaks: bool = False) -> Reply:
    """One JSON object a line."""
    return Reply(200, [json.dumps(each).encode() + b"\n" for each in objects], breaks=breaks)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came, and when."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at_s: float

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass
class Script:
    """The replies in order, the last of them for ever; and what was asked. `left` is set when a client broke off."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def plays(self, *replies: Reply) -> None:
        """Answer so from now on."""
        self.replies[:] = replies
        self.asked.clear()

    def next(self) -> Reply:
        """The reply to the request that came last."""
        return self.replies[min(len(self.asked), len(self.replies)) - 1]


@contextmanager
def scripted() -> Iterator[Script]:
    """Serve in a thread."""
    script = Script()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(script))
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(self.command, self.path, headers, body, time.monotonic()))
            reply = script.next()
            self.close_connection = True
            try:
                self._reply(reply)
            except (BrokenPipeError, ConnectionResetError):
                script.left.set()

        def _reply(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            if self.command != "HEAD":
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if self.command == "HEAD":
                return
            for piece in reply.pieces:
                if isinstance(piece, float):
                    time.sleep(piece)
                elif piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
            self.wfile.write(b"ffff\r\n" if reply.breaks else b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    return Handler
