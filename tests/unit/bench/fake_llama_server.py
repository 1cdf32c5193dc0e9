"""A llama-server that knows its answers by heart. A chat that asks for 256 tokens waits for its client to go."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECES = ["Hello", " world", "!"]


class Handler(BaseHTTPRequestHandler):
    """What the benchmarks ask for."""

    def do_GET(self) -> None:
        self._say(b"{}")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/embeddings":
            self._say(json.dumps({"data": [[0.5]] * len(asked["input"])}).encode())
        elif not asked["stream"]:
            self._say(b"{}")
        else:
            if asked["max_tokens"] == 256:
                self.rfile.read(1)
            events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": piece}}]} for piece in PIECES]
            events.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(PIECES)}})
            self._say(
                b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
                + b"data: [DONE]\n\n"
            )

    def log_message(self, *_: object) -> None:
        pass

    def _say(self, data: bytes) -> None:
        try:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 128  # clients come many at once
    if "--version" in sys.argv:
        print("fake 1")
    else:
        ThreadingHTTPServer(
            ("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler
        ).serve_forever()
