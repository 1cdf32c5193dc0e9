"""A worker that computes nothing and keeps to a script: calls of tools, JSON by schema, plain words, and an error.

It takes llama-server's flags and speaks the wire, so that a client's failure against it is Hutch's, and not a small model's.
"""

import contextlib
import hashlib
import itertools
import json
import random
import re
import socketserver
import struct
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

WORDS = [
    "The",
    "sky",
    "looks",
    "blue",
    "because",
    "air",
    "scatters",
    "short",
    "waves",
    "of",
    "light",
    "more",
    "than",
    "long",
    "ones.",
]
THOUGHT = "The question is short, so is the answer."
BREAKS = "Break in the middle."  # a prompt with this gets two words and an error
LONG = 1000  # who asks for so many tokens gets them, slowly
CALLS: dict[str, Any] = {
    "magic_function": {"input": 3},
    "greeting_generator": {"answer_style": "pirate"},
    "get_weather": {"location": "San Francisco, CA"},
    "add_two_numbers": {"a": 3, "b": 1},
    "subtract_two_numbers": {"a": 3, "b": 1},
}
ABSENT = ("web_search", "web_fetch")  # Hutch has none, and the client would want an account
_NUM_DIMENSIONS = 384
_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?=<\|im_end\|>|\Z)", re.DOTALL)
_QUOTED = re.compile(r"'([^']+)'")
_DECODER = json.JSONDecoder()


class Worker(BaseHTTPRequestHandler):
    """One request of the front."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        """Whether the worker is ready, and what it is."""
        told: dict[str, object] = {
            "/health": {"status": "ok"},
            "/slots": [],
            "/props": {"media_marker": "<__media__>"},
        }
        self._reply(told[self.path.partition("?")[0]])

    def do_POST(self) -> None:
        """An answer of the script."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/completion" and not body["stream"]:
            self._reply(_judged(body))
        elif self.path == "/completion":
            self._stream(_completion(body, str(body["prompt"])))
        elif self.path == "/v1/chat/completions":
            self._stream(_chat(body))
        elif self.path == "/v1/embeddings":
            self._reply(_vectors(body["input"]))
        elif self.path == "/tokenize":
            self._reply({"tokens": _tokens(str(body["content"]), with_pieces=body.get("with_pieces", False))})
        elif self.path == "/detokenize":
            self._reply({"content": bytes(body["tokens"]).decode(errors="replace")})
        elif self.path == "/apply-template":
            self._reply({"prompt": _rendered(body["messages"])})
        else:
            self.send_error(404)

    def _reply(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the front hangs up when its client does
            for event in itertools.chain(events, [b""]):
                self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


def _rendered(messages: list[dict[str, Any]]) -> str:
    turns = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)
    return f"{turns}<|im_start|>assistant\n"


def _tokens(text: str, *, with_pieces: bool) -> list[Any]:
    """A token for each byte."""
    ids = list(text.encode())
    return [{"id": each, "piece": [each]} for each in ids] if with_pieces else ids


def _completion(body: dict[str, Any], prompt: str) -> Iterator[bytes]:
    for index in range(body.get("n_cmpl", 1)):
        pieces, end = _said(body, prompt)
        for piece in pieces:
            yield _event(
                {"index": index, "content": piece, "stop": False}
                | _logprobs(piece, "n_probs" in body, "completion_probabilities")
            )
        if BREAKS in prompt:
            yield _failure()
            return
        end |= {"index": index, "content": "", "stop": True, "timings": _timings(prompt, pieces)}
        yield _event(end)


def _judged(body: dict[str, Any]) -> dict[str, Any]:
    """What is told of the one token that a bias has the model write."""
    [[token, _]] = body["logit_bias"]
    return _logprobs(chr(token), True, "completion_probabilities")


def _chat(body: dict[str, Any]) -> Iterator[bytes]:
    prompt = _rendered(body["messages"])
    if body.get("tools") and body["messages"][-1]["role"] == "user" and body.get("tool_choice") != "none":
        yield from _called(body, prompt)
        return
    asked = body.get("response_format", {})
    if asked:
        body |= {"json_schema": asked.get("json_schema", {}).get("schema", {"type": "object"})}
    for index in range(body.get("n_cmpl", 1)):
        pieces, end = _said(body, prompt)
        for piece in pieces:
            choice: dict[str, Any] = {"index": index, "delta": {"content": piece}}
            if body.get("logprobs"):
                choice["logprobs"] = _logprobs(piece, True, "content")
            yield _event({"choices": [choice]})
        if BREAKS in prompt:
            yield _failure()
            return
        reason = "length" if end["stop_type"] == "limit" else "stop"
        yield _event({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})
        yield _event({"choices": [], "timings": _timings(prompt, pieces)})


def _called(body: dict[str, Any], prompt: str) -> Iterator[bytes]:
    """A call of the first function that there is, as llama-server tells it."""
    tool = body["tools"][0]["function"]
    arguments = json.dumps(_arguments(tool, str(body["messages"][-1]["content"])), ensure_ascii=False)
    function = {"name": tool["name"], "arguments": arguments}
    delta = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    yield _event({"choices": [{"index": 0, "delta": delta}]})
    yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    yield _event({"choices": [], "timings": _timings(prompt, [arguments])})


def _said(body: dict[str, Any], prompt: str) -> tuple[list[str], dict[str, Any]]:
    """The answer in pieces, and what ended it."""
    text, end = _text(body, prompt), {"stop_type": "eos"}
    for stop in body.get("stop", ()):
        if stop in text:
            text, end = text.partition(stop)[0], {"stop_type": "word", "stopping_word": stop}
    pieces = re.findall(r"\s*\S+\s*?", text)
    limit = 2 if BREAKS in prompt else body.get("n_predict", -1)
    if limit >= LONG:
        return _Slow(pieces, limit), {"stop_type": "limit"}
    if 0 <= limit < len(pieces):
        return pieces[:limit], {"stop_type": "limit"}
    return pieces, end


class _Slow(list[str]):
    """Pieces over and over, each after a moment, for clients that leave in mid-answer."""

    def __init__(self, pieces: list[str], limit: int) -> None:
        super().__init__(itertools.islice(itertools.cycle(pieces), limit))

    def __iter__(self) -> Iterator[str]:
        for piece in super().__iter__():
            time.sleep(0.01)
            yield piece


def _text(body: dict[str, Any], prompt: str) -> str:
    if "json_schema" in body:
        schema = body["json_schema"]
        wanted = re.findall(r"'(\w+)'", prompt) if "properties" not in schema else []
        return json.dumps(dict.fromkeys(wanted, "words") or _instance(schema, schema))
    thought = f"{THOUGHT}\n</think>\n\n" if prompt.rstrip().endswith("<think>") else ""
    turns = [(role, text) for role, text in _TURN.findall(prompt) if text.strip() not in ("", "<think>")]
    if turns and turns[-1][0] == "user" and (tool := next(_tools(prompt), None)):
        call = {"name": tool["name"], "arguments": _arguments(tool, turns[-1][1])}
        return f"{thought}<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
    return thought + " ".join(WORDS)


def _tools(prompt: str) -> Iterator[dict[str, Any]]:
    """The functions that the prompt tells of, in the order in which it does."""
    at = 0
    while (at := prompt.find('{"type":', at)) >= 0:
        try:
            value, at = _DECODER.raw_decode(prompt, at)
        except ValueError:
            at += 1
            continue
        if value.get("type") == "function" and value["function"]["name"] not in ABSENT:
            yield value["function"]


def _arguments(tool: dict[str, Any], asked: str) -> Any:
    schema = tool.get("parameters") or {}
    scripted = CALLS.get(tool["name"], {})
    if scripted and scripted.keys() <= schema.get("properties", {}).keys():
        return scripted
    names = _QUOTED.findall(asked)
    return {key: names[0] if names else value for key, value in _instance(schema, schema).items()}


def _instance(schema: dict[str, Any], root: dict[str, Any]) -> Any:  # one return for each kind
    """The plainest value that a schema allows."""
    if "$ref" in schema:
        found: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return _instance(found, root)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return _instance(schema[key][0], root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", next(iter(schema.get("enum", ())), None))
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: _instance(inner, root) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [_instance(schema.get("items", {}), root) for _ in range(max(1, schema.get("minItems", 1)))]
    return {"string": "words", "integer": 1, "number": 1.5, "boolean": True, "null": None}[kind]


def _logprobs(piece: str, is_wanted: bool, key: str) -> dict[str, Any]:
    entry = {"token": piece, "logprob": -0.5, "bytes": list(piece.encode())}
    return {key: [entry | {"top_logprobs": [entry]}]} if is_wanted else {}


def _vectors(texts: list[str | list[int]]) -> dict[str, Any]:
    """A vector for each text: always the same for the same, and of one direction for no two."""
    rows = []
    for index, text in enumerate(texts):
        seed = int.from_bytes(hashlib.sha256(json.dumps(text).encode()).digest()[:8], "big")
        chance = random.Random(seed)  # a script, not a secret
        numbers = [chance.uniform(-1, 1) for _ in range(_NUM_DIMENSIONS)]
        rows.append(
            {"index": index, "embedding": b64encode(struct.pack(f"{_NUM_DIMENSIONS}f", *numbers)).decode()}
        )
    return {"data": rows, "usage": {"prompt_tokens": sum(len(text) for text in texts)}}


def _timings(prompt: str, pieces: list[str]) -> dict[str, Any]:
    return {
        "cache_n": 0,
        "prompt_n": len(prompt.encode()),
        "prompt_ms": 1.0,
        "predicted_n": len(pieces),
        "predicted_ms": 1.0,
    }


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _failure() -> bytes:
    problem = {"code": 500, "message": "the script breaks off here", "type": "server_error"}
    return b"error: " + json.dumps({"error": problem}).encode() + b"\n\n"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def finish_request(self, request: Any, client_address: Any) -> None:
        Worker(request, ("worker", 0), self)


if __name__ == "__main__":
    with _Server(sys.argv[sys.argv.index("--host") + 1], Worker) as listening:
        listening.serve_forever()
