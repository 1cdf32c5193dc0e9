"""What the clients of the soak ask, and the verdict on each answer.

An answer is `answered`, `failed` (with an error in its own dialect) or `broken`: cut, hung, or a failure that nothing
tells the client of. Broken is what must never be.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.prompts import Prompts

Chat = list[dict[str, str]]
Body = Callable[[str, Chat], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a request ended, and what was wrong with it."""

    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request. `refused_with` says which statuses are its right answer, where it is a wrong request."""

    name: str
    path: str
    body: Body | None = None
    streams: bool = False
    hangs_up: bool = False
    refused_with: tuple[int, ...] = ()
    weight: int = 1

    @property
    def is_openai(self) -> bool:
        return self.path.startswith("/v1/")

    def judge(self, status: int, content: bytes) -> Verdict:
        """Say how this answer, read to its end, is to be counted."""
        if status != 200:
            return self._judge_refusal(status, content)
        if self.refused_with:
            return Verdict("broken", f"200 for a wrong request: {content[:200]!r}")
        if self.streams:
            return judge_sse(content) if self.is_openai else judge_ndjson(content)
        said = _object(content)
        if said is None or "error" in said:
            return Verdict("broken", f"200 with {content[:200]!r}")
        return Verdict("answered")

    def _judge_refusal(self, status: int, content: bytes) -> Verdict:
        error = (_object(content) or {}).get("error")
        text = error.get("message") if self.is_openai and isinstance(error, dict) else error
        if not isinstance(text, str) or not text or (self.is_openai and not isinstance(error, dict)):
            return Verdict("broken", f"{status} without an error of its dialect: {content[:200]!r}")
        if status in self.refused_with:
            return Verdict("answered")
        return Verdict("failed", f"{status}: {text}")


def judge_ndjson(content: bytes) -> Verdict:
    """A stream of lines ends with `done` or with an error, and with nothing after either."""
    ended: Verdict | None = None
    for line in content.splitlines():
        if not line.strip():
            continue
        said = _object(line)
        if said is None or ended is not None:
            return Verdict("broken", f"{'bad line' if said is None else 'after the end'}: {line[:200]!r}")
        if "error" in said:
            is_text = isinstance(said["error"], str) and said["error"]
            ended = Verdict("failed" if is_text else "broken", f"in mid-stream: {said['error']}")
        elif said.get("done"):
            ended = Verdict("answered")
    return ended or Verdict("broken", f"cut after {content[-200:]!r}")


def judge_sse(content: bytes) -> Verdict:
    """A stream of events ends with `[DONE]` or with an error, and with nothing but `[DONE]` after an error."""
    failed: Verdict | None = None
    is_done = False
    for line in content.splitlines():
        if not line.startswith(b"data:"):
            continue
        value = line.removeprefix(b"data:").strip()
        said = _object(value)
        if is_done:
            return Verdict("broken", f"after the end: {line[:200]!r}")
        if value == b"[DONE]":
            is_done = True
        elif said is None or failed:
            return Verdict("broken", f"{'bad event' if said is None else 'after an error'}: {line[:200]!r}")
        elif "error" in said:
            error = said["error"]
            is_proper = isinstance(error, dict) and bool(error.get("message"))
            failed = Verdict("failed" if is_proper else "broken", f"in mid-stream: {error}")
    if failed or is_done:
        return failed or Verdict("answered")
    return Verdict("broken", f"cut after {content[-200:]!r}")


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(content)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _chat(*, streams: bool) -> Body:
    options = {"num_predict": 48, "temperature": 0.7}
    return lambda model, chat: {"model": model, "messages": chat, "stream": streams, "options": options}


def _generate(*, streams: bool) -> Body:
    options = {"num_predict": 48}
    return lambda model, chat: {
        "model": model,
        "prompt": chat[0]["content"],
        "stream": streams,
        "options": options,
    }


def _openai(*, streams: bool) -> Body:
    return lambda model, chat: {"model": model, "messages": chat, "stream": streams, "max_tokens": 48}


def _endless(body: Body) -> Body:
    """Ask for so much that the client has always gone before the end."""

    def longer(model: str, chat: Chat) -> dict[str, Any]:
        asked = body(model, chat)
        return asked | ({"options": {"num_predict": 600}} if "options" in asked else {"max_tokens": 600})

    return longer


def _always(**fields: Any) -> Body:
    return lambda _model, _chat: fields


KINDS = (
    Kind("chat, stream", "/api/chat", _chat(streams=True), streams=True, weight=4),
    Kind("chat", "/api/chat", _chat(streams=False), weight=3),
    Kind("generate, stream", "/api/generate", _generate(streams=True), streams=True, weight=3),
    Kind("generate", "/api/generate", _generate(streams=False), weight=2),
    Kind("v1 chat, stream", "/v1/chat/completions", _openai(streams=True), streams=True, weight=4),
    Kind("v1 chat", "/v1/chat/completions", _openai(streams=False), weight=3),
    Kind("chat, left", "/api/chat", _endless(_chat(streams=True)), streams=True, hangs_up=True, weight=2),
    Kind(
        "v1 chat, left",
        "/v1/chat/completions",
        _endless(_openai(streams=True)),
        streams=True,
        hangs_up=True,
        weight=2,
    ),
    Kind("embed, no such model", "/api/embed", _always(model="none:none", input="a"), refused_with=(404,)),
    Kind("embed, no model", "/api/embed", _always(input="a"), refused_with=(404,)),
    Kind("embed, bad input", "/api/embed", lambda m, _: {"model": m, "input": 7}, refused_with=(400,)),
    Kind("v1 embed, no such model", "/v1/embeddings", _always(model="none", input="a"), refused_with=(404,)),
    Kind("list", "/api/tags"),
    Kind("ps", "/api/ps"),
    Kind("show", "/api/show", lambda model, _: {"model": model}),
    Kind("v1 list", "/v1/models"),
)


class Asker:
    """Makes one client's requests, each with a prompt of its own."""

    def __init__(self, seed: int, models: tuple[str, ...]) -> None:
        self._prompts = Prompts(seed)
        self._models = models
        self._count = 0

    def body(self, kind: Kind) -> dict[str, Any] | None:
        """The body of the next request of this kind; None for a GET."""
        self._count += 1
        model = self._models[self._count % len(self._models)]
        # lengths vary, so that prompts are of one batch and of several
        return kind.body(model, self._prompts.new(5 + self._count * 37 % 300)) if kind.body else None
