"""A web server on this machine that gets wrong what it is told to get wrong."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("stall", "short", "long", "wrong-range", "ignore-range", "other-file", "chunked")


class FaultyServer(ThreadingHTTPServer):
    """Serves `files`. Each answer to a GET takes the next of `faults`: a status code, a word, or "" for none."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.faults: list[str] = []
        self.ranges: list[str] = []  # of the requests so far
        self.has_etags = True
        self.pace_s = 0.0  # for each 64 KiB
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    """A server in a thread."""
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0]
        fault = server.faults.pop(0) if server.faults else ""
        server.ranges.append(self.headers.get("Range", ""))
        if path in server.redirects:
            self._answer(302, b"", Location=server.redirects[path])
        elif fault.isdigit():
            self._answer(int(fault), b"no")
        elif path not in server.files:
            self._answer(404, b"no")
        else:
            self._file(server.files[path], fault)

    def _file(self, data: bytes, fault: str) -> None:
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": etag} if self.server.has_etags else {}
        if self.path.endswith("/"):
            headers["Content-Type"] = "text/html"
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or fault == "ignore-range" or self.headers.get("If-Range", etag) != etag:
            self._answer(200, data, fault, **headers)
            return
        start = int(match[1])
        if start >= len(data):
            self._answer(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
            return
        shown = start + 1 if fault == "wrong-range" else start
        headers["Content-Range"] = f"bytes {shown}-{len(data) - 1}/{len(data)}"
        self._answer(206, data[start:], fault, **headers)

    def _answer(self, status: int, data: bytes, fault: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(data) - 10 if fault == "long" else len(data)))
        self.end_headers()
        sent = len(data) // 2 if fault in ("short", "stall") else len(data)
        for at in range(0, sent, 1 << 16):
            self.wfile.write(data[at : min(at + (1 << 16), sent)])
            if self.server.pace_s and self.server.closing.wait(self.server.pace_s):
                return
        self.wfile.flush()
        if fault == "stall":
            self.server.closing.wait(5)
        if fault:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""
