"""`/v1/completions`."""

import codecs
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from hutch.api.completions_wire import CompletionBody
from hutch.api.openai_choices import Shape, answered
from hutch.api.openai_wire import JsonDict, OpenAIDialect, created, usage_json
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import Chunk, Echo, TokenLogprob, Usage


class Completions:
    """Texts that the backend goes on with, in OpenAI's words."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        return (
            Route(
                ("POST",),
                "/v1/completions",
                Action.INFER,
                self.complete,
                OpenAIDialect("prompt"),
                CompletionBody,
                summary="Complete a text",
            ),
        )

    async def complete(self, call: Call) -> Response:
        """Complete a text, or several."""
        body: CompletionBody = call.body
        headers, requests = body.unknown(), body.internal()
        shape = _TextShape(
            f"cmpl-{uuid.uuid4().hex}",
            created(),
            body.model,
            requests[0].num_choices,
            has_logprobs=body.logprobs is not None,
        )
        return await answered(self._backend, call.who, requests, body, shape, headers=headers)


@dataclass(frozen=True, slots=True)
class _TextShape(Shape):
    """`num` choices go on with the same prompt, which comes once, and is told before each of them."""

    num: int
    has_logprobs: bool
    _echoes: dict[int, Echo] = field(default_factory=dict)
    _offsets: dict[int, int] = field(default_factory=dict)  # of each choice that has begun, in characters

    def first(self, index: int) -> JsonDict | None:  # noqa: ARG002
        return None

    def piece(self, chunk: Chunk) -> JsonDict:
        return self.head("text_completion") | {"choices": [self._choice(chunk.choice, chunk.choice, [chunk])]}

    def usage(self, usage: Usage) -> JsonDict:
        return self.head("text_completion") | {"choices": [], "usage": usage_json(usage)}

    def whole(self, choices: Sequence[Sequence[Chunk]], usage: Usage) -> JsonDict:
        for chunk in (chunk for chunks in choices for chunk in chunks):
            self._keep(chunk)
        said = [self._choice(index, chunks[0].choice, chunks) for index, chunks in enumerate(choices)]
        return self.head("text_completion") | {"choices": said, "usage": usage_json(usage)}

    def _keep(self, chunk: Chunk) -> None:
        if chunk.echo:
            self._echoes[chunk.choice // self.num] = chunk.echo

    def _choice(self, index: int, choice: int, chunks: Sequence[Chunk]) -> JsonDict:
        """`index`: its place in the reply; `choice`: as it was written."""
        for chunk in chunks:
            self._keep(chunk)
        echo = self._echoes.get(choice // self.num) if choice not in self._offsets else None
        text = "".join(chunk.text for chunk in chunks)
        entries = [entry for chunk in chunks for entry in chunk.logprobs]
        at = self._offsets.setdefault(choice, len(echo.text) if echo else 0)
        self._offsets[choice] += len(b"".join(map(_bytes, entries)).decode(errors="replace"))
        tokens = [*_echoed(echo), *_written(entries, at)] if self.has_logprobs else []
        return {
            "index": index,
            "text": echo.text + text if echo else text,
            "logprobs": _table(tokens) if tokens else None,
            "finish_reason": chunks[-1].finish_reason,
        }


@dataclass(frozen=True, slots=True)
class _Token:
    """A token in a table of log-probabilities. `logprob` is None for the first one of a prompt."""

    text: str
    logprob: float | None
    top: dict[str, float] | None
    offset: int


def _table(tokens: Sequence[_Token]) -> dict[str, Any]:
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [token.top for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def _written(entries: Sequence[TokenLogprob], at: int) -> Iterator[_Token]:
    """The tokens of an answer. Several may be one character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for entry in entries:
        yield _Token(entry.token, entry.logprob, _top(entry, entry.token), at)
        at += len(decoder.decode(_bytes(entry)))


def _bytes(entry: TokenLogprob) -> bytes:
    return bytes(entry.bytes) or entry.token.encode()


def _echoed(echo: Echo | None) -> Iterator[_Token]:
    """The tokens of a prompt. What the tokenizer put before its text stands at offset 0."""
    if echo is None or not echo.pieces:
        return
    lead = len(b"".join(echo.pieces).decode(errors="replace")) - len(echo.text)
    decoder, at = codecs.getincrementaldecoder("utf-8")("replace"), 0
    for index, piece in enumerate(echo.pieces):
        entry = echo.logprobs[index - 1] if index else None
        text = piece.decode(errors="replace")
        top = _top(entry, text) if entry else None
        yield _Token(text, entry.logprob if entry else None, top, max(0, at - lead))
        at += len(decoder.decode(piece))


def _top(entry: TokenLogprob, text: str) -> dict[str, float]:
    """The likeliest tokens, and always the one that stands there. Of tokens with the same text the likeliest counts."""
    top: dict[str, float] = {}
    for other in entry.top:
        top.setdefault(other.token, other.logprob)
    top.setdefault(text, entry.logprob)
    return top
