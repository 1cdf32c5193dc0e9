"""`/v1/chat/completions`."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from hutch.api.ollama_wire import logprobs as token_logprobs
from hutch.api.openai_choices import Shape, answered
from hutch.api.openai_wire import OPENAI, ChatBody, JsonDict, created, usage_json
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import Chunk, FinishReason, TokenLogprob, ToolCall, Usage


class OpenAIChat:
    """Answers by the backend, in OpenAI's words."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        return (
            Route(
                ("POST",),
                "/v1/chat/completions",
                Action.INFER,
                self.chat,
                OPENAI,
                ChatBody,
                summary="Answer a conversation",
            ),
        )

    async def chat(self, call: Call) -> Response:
        """Answer a conversation."""
        body: ChatBody = call.body
        says = _FUNCTION if body.functions is not None else _TOOLS
        shape = _ChatShape(f"chatcmpl-{uuid.uuid4().hex}", created(), body.model, says)
        headers = body.unknown()
        return await answered(self._backend, call.who, (body.internal(),), body, shape, headers=headers)


@dataclass(frozen=True, slots=True)
class _Calls:
    """How calls are told: as tool calls, or in the deprecated way as the call of a function, of which there is one."""

    delta: Callable[[Sequence[ToolCall]], JsonDict]
    whole: Callable[[Sequence[ToolCall]], JsonDict]
    reason: str

    def finish(self, reason: FinishReason | None) -> str | None:
        """Why an answer ended."""
        return self.reason if reason == "tool_calls" else reason


@dataclass(frozen=True, slots=True)
class _ChatShape(Shape):
    calls: _Calls

    def first(self, index: int) -> JsonDict | None:
        return self._choice(index, {"role": "assistant", "content": ""}, None, ())

    def piece(self, chunk: Chunk) -> JsonDict:
        delta: JsonDict = {}
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.thinking:
            delta |= _thought(chunk.thinking)
        if chunk.tool_calls:
            delta |= self.calls.delta(chunk.tool_calls)
        return self._choice(chunk.choice, delta, self.calls.finish(chunk.finish_reason), chunk.logprobs)

    def usage(self, usage: Usage) -> JsonDict:
        return self.head("chat.completion.chunk") | {"choices": [], "usage": usage_json(usage)}

    def whole(self, choices: Sequence[Sequence[Chunk]], usage: Usage) -> JsonDict:
        said = [_whole_choice(index, chunks, self.calls) for index, chunks in enumerate(choices)]
        return self.head("chat.completion") | {"choices": said, "usage": usage_json(usage)}

    def _choice(
        self, index: int, delta: JsonDict, reason: str | None, entries: tuple[TokenLogprob, ...]
    ) -> JsonDict:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(entries), "finish_reason": reason}
        return self.head("chat.completion.chunk") | {"choices": [choice]}


def _whole_choice(index: int, chunks: Sequence[Chunk], how: _Calls) -> JsonDict:
    message: JsonDict = {
        "role": "assistant",
        "content": "".join(chunk.text for chunk in chunks),
        "refusal": None,
    }
    if thinking := "".join(chunk.thinking for chunk in chunks):
        message |= _thought(thinking)
    if calls := [call for chunk in chunks for call in chunk.tool_calls]:
        message |= how.whole(calls)
        message["content"] = message["content"] or None
    entries = tuple(entry for chunk in chunks for entry in chunk.logprobs)
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(entries),
        "finish_reason": how.finish(chunks[-1].finish_reason),
    }


def _logprobs(entries: tuple[TokenLogprob, ...]) -> JsonDict | None:
    return {"content": token_logprobs(entries), "refusal": None} if entries else None


def _thought(text: str) -> JsonDict:
    """Thoughts, by the name that llama.cpp's and DeepSeek's clients know and by that of Ollama's and vLLM's."""
    return {"reasoning_content": text, "reasoning": text}


def _call_delta(call: ToolCall) -> JsonDict:
    function = {"name": call.name} if call.name else {}
    head: JsonDict = {"id": call.id, "type": "function"} if call.id else {}
    return {"index": call.index, **head, "function": {**function, "arguments": call.arguments}}


def _whole_calls(pieces: Sequence[ToolCall]) -> list[JsonDict]:
    calls: dict[int, JsonDict] = {}
    for piece in pieces:
        call = calls.setdefault(
            piece.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = call["id"] or piece.id
        call["function"]["name"] += piece.name
        call["function"]["arguments"] += piece.arguments
    return [call for _, call in sorted(calls.items())]


def _function_delta(pieces: Sequence[ToolCall]) -> JsonDict:
    said: JsonDict = {"arguments": "".join(piece.arguments for piece in pieces)}
    name = "".join(piece.name for piece in pieces)
    return {"function_call": {"name": name, **said} if name else said}


_TOOLS = _Calls(
    delta=lambda pieces: {"tool_calls": [_call_delta(call) for call in pieces]},
    whole=lambda pieces: {"tool_calls": _whole_calls(pieces)},
    reason="tool_calls",
)
_FUNCTION = _Calls(
    delta=lambda pieces: _function_delta([piece for piece in pieces if not piece.index]),
    whole=lambda pieces: {"function_call": _whole_calls(pieces)[0]["function"]},
    reason="function_call",
)
