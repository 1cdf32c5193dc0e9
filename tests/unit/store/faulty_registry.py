"""A registry on this machine that gets wrong what it is told to get wrong."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from hutch.store import manifests
from hutch.store.manifests import CONFIG_TYPE, LAYER_TYPE, Layer
from tests.unit.store.things import digest_of


class FaultyRegistry(ThreadingHTTPServer):
    """Has `files` by their digest or tag. Each blob or manifest asked for takes the next of its `faults`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {"blobs": [], "manifests": [], "uploads": []}
        self.answers: dict[str, Callable[[Any], None]] = {}  # for a kind of request, instead of ours
        self.seen: list[tuple[str, str, dict[str, str]]] = []  # kind, range, headers
        self.uploads: dict[str, bytes] = {}
        self.upload_location = "/v2/me/x/blobs/uploads/1?state=s"
        self.patches: list[tuple[int, int]] = []  # first byte and length
        self.served_bytes = 0
        self.drip_s = 0.0  # for each 64 KiB
        self.closing = threading.Event()

    @property
    def host(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.server_address[1]}"

    def add_model(self, weights: bytes, **layers: bytes) -> str:
        """Have a model under the tag `latest`, and say its weights' digest."""
        blobs = {"model": weights, **layers}
        config = b'{"model_format":"gguf"}'
        rows = [Layer(LAYER_TYPE + kind, digest_of(data), len(data)) for kind, data in blobs.items()]
        for data in (*blobs.values(), config):
            self.files[digest_of(data)] = data
        self.files["latest"] = manifests.render(
            Layer(CONFIG_TYPE, digest_of(config), len(config)), tuple(rows)
        )
        return digest_of(weights)

    def ranges(self) -> list[str]:
        """The ranges of blobs asked for so far."""
        return [wanted for kind, wanted, _ in self.seen if kind == "blobs"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""


@contextmanager
def faulty_registry() -> Iterator[FaultyRegistry]:
    """A registry in a thread."""
    with FaultyRegistry() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FaultyRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        match = re.fullmatch(r"/v2/[^/]+/[^/]+/(blobs|manifests)/(.+)", path)
        kind, key = (match[1], match[2]) if match else (path.strip("/"), "")
        self.server.seen.append((kind, self.headers.get("Range", ""), dict(self.headers)))
        waiting = self.server.faults.get(kind, [])
        fault = waiting.pop(0) if waiting else ""
        if "/blobs/uploads/" in path:
            self._progress(204)
        elif kind in self.server.answers:
            self.server.answers[kind](self)
        elif fault.isdigit():
            self.answer(int(fault), b'{"errors":[{"code":"NO","message":"not today"}]}')
        elif fault.startswith(("http", "file:", "/")):
            self.answer(307, b"", Location=fault)
        elif fault == "nowhere":
            self.answer(307, b"")
        elif key not in self.server.files:
            self.answer(404, b"{}")
        else:
            self._file(self.server.files[key], fault)

    def do_HEAD(self) -> None:
        digest = self.path.rpartition("/")[2]
        self._end(200 if digest in self.server.files else 404)

    def do_POST(self) -> None:
        self.server.uploads["1"] = b""
        self._end(202, Location=self.server.upload_location)

    def do_PATCH(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.server.faults["uploads"].pop(0) if self.server.faults["uploads"] else ""
        first = int(self.headers["Content-Range"].partition("-")[0])
        self.server.patches.append((first, len(data)))
        if fault.isdigit():
            self._end(int(fault))
            return
        self.server.uploads["1"] += data[: len(data) // 2] if fault == "short" else data
        if fault in ("short", "gone"):
            self.close_connection = True
            return
        self._progress(202)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "/manifests/" in self.path:
            self.server.files["latest"] = data
        else:
            self.server.files[unquote(self.path.rpartition("=")[2])] = self.server.uploads.pop("1")
        self._end(201)

    def _progress(self, status: int) -> None:
        end = max(len(self.server.uploads["1"]) - 1, 0)
        self._end(status, Location=self.server.upload_location, Range=f"0-{end}")

    def _end(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _file(self, data: bytes, fault: str) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or fault.startswith("no-ranges"):
            self.answer(200, data, fault.removeprefix("no-ranges-"))
            return
        first, last = int(match[1]), int(match[2])
        shown = first + 1 if fault == "wrong-range" else first
        self.answer(
            206, data[first : last + 1], fault, **{"Content-Range": f"bytes {shown}-{last}/{len(data)}"}
        )

    def answer(self, status: int, data: bytes, fault: str = "", **headers: str) -> None:
        """Send an answer, as far as the fault lets it."""
        if fault == "flipped":
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault == "gzip":
            headers["Content-Encoding"] = "gzip"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        end = len(data) // 2 if fault in ("short", "stall", "drip") else len(data)
        for at in range(0, end, 1 << 16):
            piece = data[at : min(at + (1 << 16), end)]
            self.wfile.write(piece)
            self.server.served_bytes += len(piece)
            if self.server.drip_s and self.server.closing.wait(self.server.drip_s):
                return
        self.wfile.flush()
        if fault == "stall":
            self.server.closing.wait(5)
        for at in range(end, end + 1000 if fault == "drip" else 0):
            self.wfile.write(data[at : at + 1])
            self.wfile.flush()
            if self.server.closing.wait(0.05):
                return
        if fault:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def manifest_of(**changes: Any) -> bytes:
    """A manifest of one layer, but for what is changed in it."""
    layer = {"mediaType": LAYER_TYPE + "model", "digest": digest_of(b""), "size": 0}
    config = {"mediaType": CONFIG_TYPE, "digest": digest_of(b"{}"), "size": 2}
    document = {"schemaVersion": 2, "mediaType": manifests.MANIFEST_TYPE, "config": config, "layers": [layer]}
    return json.dumps(document | changes).encode()
