"""`/v1/messages` and `/v1/messages/count_tokens`."""

import json
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from hutch.api.anthropic_wire import ANTHROPIC, CountBody, JsonDict, MessagesBody
from hutch.api.route import Call, Route
from hutch.api.stream import SSE, Stream, with_first
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import Chunk, Usage
from hutch.core.errors import HutchError

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class AnthropicChat:
    """Answers by the backend, in Anthropic's words."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        post, path = ("POST",), "/v1/messages"
        count = f"{path}/count_tokens"
        return (
            Route(
                post,
                path,
                Action.INFER,
                self.answer,
                ANTHROPIC,
                MessagesBody,
                summary="Answer a conversation",
            ),
            Route(
                post,
                count,
                Action.INFER,
                self.count,
                ANTHROPIC,
                CountBody,
                summary="Count a conversation's tokens",
            ),
        )

    async def answer(self, call: Call) -> Response:
        """Answer a conversation."""
        body: MessagesBody = call.body
        headers = body.ignored()
        chunks = self._backend.generate(body.internal(), call.who)
        message = _Message(body.model, body.stop_sequences or ())
        if body.stream:
            return Stream(message.events(await with_first(chunks)), SSE, _error_event, headers)
        async with aclosing(chunks):
            async for chunk in chunks:
                for _ in message.add(chunk):
                    pass
        return JSONResponse(message.whole(), headers=headers)

    async def count(self, call: Call) -> Response:
        """Count the tokens of a conversation, its tools and the template around it."""
        body: CountBody = call.body
        request = body.internal()
        text = await self._backend.render(request)
        tokens = await self._backend.tokenizer.tokenize(request.model, text)
        return JSONResponse({"input_tokens": len(tokens.ids)}, headers=body.ignored())


class _Message:
    """An answer as it grows: blocks of content, each of one kind, one after another."""

    def __init__(self, model: str, stops: Sequence[str]) -> None:
        self._stops = stops  # those that the client knows; a model has its own beside them
        self._head: JsonDict = {
            "id": f"msg_{uuid.uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": model,
        }
        self._blocks: list[JsonDict] = []
        self._arguments = ""  # of the call that is being written
        self._call = -1  # its index
        self._stopped: JsonDict = {"stop_reason": None, "stop_sequence": None}
        self._usage = Usage()

    async def events(self, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[bytes, None]:
        """Server-sent events; the first goes out with the first token."""
        pending = _event("message_start", {"message": self.whole()})
        async with aclosing(chunks):
            async for chunk in chunks:
                if news := b"".join(self.add(chunk)):
                    yield pending + news
                    pending = b""
        yield pending + _event("message_delta", {"delta": self._stopped, "usage": self._usage_json()})
        yield _event("message_stop", {})

    def add(self, chunk: Chunk) -> Iterator[bytes]:
        """Let the answer grow, and tell it as events."""
        if chunk.thinking:
            yield from self._grow("thinking", "thinking", chunk.thinking)
        if chunk.text:
            yield from self._grow("text", "text", chunk.text)
        for call in chunk.tool_calls:
            if call.index != self._call:
                yield from self._close()
                self._call, self._arguments = call.index, ""
                block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
                yield self._open(block)
            if call.arguments:
                self._arguments += call.arguments
                yield self._delta({"type": "input_json_delta", "partial_json": call.arguments})
        if chunk.finish_reason:
            yield from self._close()
            self._usage = chunk.usage or self._usage
            is_named = chunk.finish_reason == "stop" and chunk.stopped_by in self._stops
            reason = "stop_sequence" if is_named else _REASONS[chunk.finish_reason]
            self._stopped = {"stop_reason": reason, "stop_sequence": chunk.stopped_by if is_named else None}

    def whole(self) -> JsonDict:
        """The message, as far as it has come."""
        return {**self._head, "content": self._blocks, **self._stopped, "usage": self._usage_json()}

    def _usage_json(self) -> JsonDict:
        usage = self._usage
        return {
            "input_tokens": usage.prompt_tokens - usage.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.completion_tokens,
        }

    def _grow(self, kind: str, field: str, text: str) -> Iterator[bytes]:
        if not self._blocks or self._blocks[-1]["type"] != kind:
            yield from self._close()
            yield self._open({"type": kind, field: ""} | ({"signature": ""} if kind == "thinking" else {}))
        self._blocks[-1][field] += text
        yield self._delta({"type": f"{kind}_delta", field: text})

    def _open(self, block: JsonDict) -> bytes:
        event = _event("content_block_start", {"index": len(self._blocks), "content_block": block})
        self._blocks.append(block)
        return event

    def _delta(self, delta: JsonDict) -> bytes:
        return _event("content_block_delta", {"index": len(self._blocks) - 1, "delta": delta})

    def _close(self) -> Iterator[bytes]:
        """End the block that is being written, if there is one."""
        if not self._blocks:
            return
        block = self._blocks[-1]
        if block["type"] == "tool_use" and self._arguments:
            block["input"], self._arguments = _arguments(self._arguments), ""
        yield _event("content_block_stop", {"index": len(self._blocks) - 1})


def _arguments(text: str) -> Any:
    """The arguments of a call as an object; what a small model wrote that is none, under a name that says so."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"_invalid_json": text}
    return value if isinstance(value, dict) else {"_value": value}


def _event(kind: str, data: JsonDict) -> bytes:
    return f"event: {kind}\ndata: ".encode() + to_json({"type": kind, **data}) + b"\n\n"


def _error_event(error: HutchError) -> bytes:
    return _event("error", ANTHROPIC.error(error))
