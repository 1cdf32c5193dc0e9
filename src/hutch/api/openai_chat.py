"""`/v1/chat/completions` and `/v1/completions`."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from hutch.api.ollama_wire import logprobs as token_logprobs
from hutch.api.openai_wire import (
    OPENAI,
    ChatBody,
    CompletionBody,
    JsonDict,
    OpenAIDialect,
    created,
    usage_json,
)
from hutch.api.route import Call, Route
from hutch.api.stream import SSE, Stream, with_first
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import Chunk, TokenLogprob, ToolCall, Usage
from hutch.core.errors import HutchError

_DONE = b"data: [DONE]\n\n"


class OpenAIChat:
    """Answers by the backend, in OpenAI's words."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        post = ("POST",)
        return (
            Route(
                post,
                "/v1/chat/completions",
                Action.INFER,
                self.chat,
                OPENAI,
                ChatBody,
                summary="Answer a conversation",
            ),
            Route(
                post,
                "/v1/completions",
                Action.INFER,
                self.complete,
                OpenAIDialect("prompt"),
                CompletionBody,
                summary="Complete a text",
            ),
        )

    async def chat(self, call: Call) -> Response:
        """Answer a conversation."""
        body: ChatBody = call.body
        return await self._answer(
            call, body, _ChatShape(f"chatcmpl-{uuid.uuid4().hex}", created(), body.model)
        )

    async def complete(self, call: Call) -> Response:
        """Complete a text."""
        body: CompletionBody = call.body
        return await self._answer(call, body, _TextShape(f"cmpl-{uuid.uuid4().hex}", created(), body.model))

    async def _answer(self, call: Call, body: ChatBody | CompletionBody, shape: "_Shape") -> Response:
        headers = body.unknown()
        chunks = self._backend.generate(body.internal(), call.who)
        if body.stream:
            events = _events(await with_first(chunks), shape, wants_usage=body.wants_usage)
            return Stream(events, SSE, _error_event, headers)
        async with aclosing(chunks):
            return JSONResponse(shape.whole([chunk async for chunk in chunks]), headers=headers)


@dataclass(frozen=True, slots=True)
class _Shape(ABC):
    """How a kind of completion is written. `id` and `created` are the same in every chunk of a stream."""

    id: str
    created: int
    model: str

    def head(self, kind: str) -> JsonDict:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_hutch",
        }

    @abstractmethod
    def first(self) -> JsonDict | None:
        """What a stream begins with, if anything."""

    @abstractmethod
    def piece(self, chunk: Chunk) -> JsonDict:
        """A chunk of a stream."""

    @abstractmethod
    def usage(self, usage: Usage) -> JsonDict:
        """The chunk of a stream that tells what it took."""

    @abstractmethod
    def whole(self, chunks: list[Chunk]) -> JsonDict:
        """The reply that is no stream."""


class _ChatShape(_Shape):
    def first(self) -> JsonDict | None:
        return self._choice({"role": "assistant", "content": ""}, None, ())

    def piece(self, chunk: Chunk) -> JsonDict:
        delta: JsonDict = {}
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.thinking:
            delta |= _thought(chunk.thinking)
        if chunk.tool_calls:
            delta["tool_calls"] = [_call_delta(call) for call in chunk.tool_calls]
        return self._choice(delta, chunk.finish_reason, chunk.logprobs)

    def usage(self, usage: Usage) -> JsonDict:
        return self.head("chat.completion.chunk") | {"choices": [], "usage": usage_json(usage)}

    def whole(self, chunks: list[Chunk]) -> JsonDict:
        message: JsonDict = {
            "role": "assistant",
            "content": "".join(chunk.text for chunk in chunks),
            "refusal": None,
        }
        if thinking := "".join(chunk.thinking for chunk in chunks):
            message |= _thought(thinking)
        if calls := [call for chunk in chunks for call in chunk.tool_calls]:
            message["tool_calls"] = _whole_calls(calls)
            message["content"] = message["content"] or None
        entries = tuple(entry for chunk in chunks for entry in chunk.logprobs)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": {"content": token_logprobs(entries), "refusal": None} if entries else None,
            "finish_reason": chunks[-1].finish_reason,
        }
        return self.head("chat.completion") | {
            "choices": [choice],
            "usage": usage_json(chunks[-1].usage or Usage()),
        }

    def _choice(self, delta: JsonDict, reason: str | None, entries: tuple[TokenLogprob, ...]) -> JsonDict:
        logprobs = {"content": token_logprobs(entries), "refusal": None} if entries else None
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self.head("chat.completion.chunk") | {"choices": [choice]}


class _TextShape(_Shape):
    def first(self) -> JsonDict | None:
        return None

    def piece(self, chunk: Chunk) -> JsonDict:
        return self.head("text_completion") | {"choices": [self._choice([chunk])]}

    def usage(self, usage: Usage) -> JsonDict:
        return self.head("text_completion") | {"choices": [], "usage": usage_json(usage)}

    def whole(self, chunks: list[Chunk]) -> JsonDict:
        usage = usage_json(chunks[-1].usage or Usage())
        return self.head("text_completion") | {"choices": [self._choice(chunks)], "usage": usage}

    def _choice(self, chunks: list[Chunk]) -> JsonDict:
        entries = [entry for chunk in chunks for entry in chunk.logprobs]
        return {
            "index": 0,
            "text": "".join(chunk.text for chunk in chunks),
            "logprobs": _legacy_logprobs(entries) if entries else None,
            "finish_reason": chunks[-1].finish_reason,
        }


async def _events(
    chunks: AsyncGenerator[Chunk, None], shape: _Shape, *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Server-sent events; the first goes out with the first token, the last is `[DONE]`."""
    no_usage: JsonDict = {"usage": None} if wants_usage else {}
    pending = _event(first | no_usage) if (first := shape.first()) else b""
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk.text or chunk.thinking or chunk.tool_calls or chunk.logprobs or chunk.finish_reason:
                yield pending + _event(shape.piece(chunk) | no_usage)
                pending = b""
            if chunk.usage and wants_usage:
                yield _event(shape.usage(chunk.usage))
    yield _DONE


def _event(data: JsonDict) -> bytes:
    return b"data: " + to_json(data) + b"\n\n"


def _error_event(error: HutchError) -> bytes:
    return _event(OPENAI.error(error))


def _thought(text: str) -> JsonDict:
    """Thoughts, by the name that llama.cpp's and DeepSeek's clients know and by that of Ollama's and vLLM's."""
    return {"reasoning_content": text, "reasoning": text}


def _call_delta(call: ToolCall) -> JsonDict:
    function = {"name": call.name} if call.name else {}
    head: JsonDict = {"id": call.id, "type": "function"} if call.id else {}
    return {"index": call.index, **head, "function": {**function, "arguments": call.arguments}}


def _whole_calls(pieces: list[ToolCall]) -> list[JsonDict]:
    calls: dict[int, JsonDict] = {}
    for piece in pieces:
        call = calls.setdefault(
            piece.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = call["id"] or piece.id
        call["function"]["name"] += piece.name
        call["function"]["arguments"] += piece.arguments
    return [call for _, call in sorted(calls.items())]


def _legacy_logprobs(entries: list[TokenLogprob]) -> dict[str, Any]:
    offsets, at = [], 0
    for entry in entries:
        offsets.append(at)
        at += len(entry.token)
    return {
        "tokens": [entry.token for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [{other.token: other.logprob for other in entry.top} for entry in entries],
        "text_offset": offsets,
    }
