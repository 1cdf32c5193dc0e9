"""An answer's events in the words of llama-server's `/v1/chat/completions`, taken apart into thoughts, text and calls. Knows no HTTP."""

import json
import secrets
import time
from collections.abc import Iterable
from typing import Any

from hutch.core.chat import Chunk, ToolCall
from hutch.engines.onnx.answer import End, Event, Piece, Progress
from hutch.engines.onnx.chat import delta
from hutch.engines.onnx.completion_writer import progress_json, timings_json
from hutch.engines.onnx.probabilities import Probabilities
from hutch.engines.onnx.requests import Completion
from hutch.engines.onnx.text import Tokens
from hutch.prompt.answer import Reader

JsonDict = dict[str, Any]

_ROLE = {"role": "assistant", "content": None}


class ChatWriter:
    """Writes one answer: event by event, or whole. `index`: which choice it is."""

    def __init__(self, asked: Completion, tokens: Tokens, reader: Reader, model: str, index: int = 0) -> None:
        self._index = index
        self._asked = asked
        self._probabilities = Probabilities(tokens)
        self._reader = reader
        self._about = {
            "created": int(time.time()),
            "id": f"chatcmpl-{secrets.token_urlsafe(24)}",
            "model": model,
        }
        self._has_begun = False

    def stream(self, events: Iterable[Event]) -> bytes:
        """Some events as a part of a stream. Empty where they say nothing."""
        said: list[JsonDict] = []
        for event in events:
            if isinstance(event, Progress):
                if self._asked.wants_progress:
                    said.append({**self._chunk(_ROLE), "prompt_progress": progress_json(event)})
                continue
            if not self._has_begun:
                self._has_begun = True
                said.append(self._chunk(_ROLE))
            if isinstance(event, Piece):
                said += self._piece(event)
            elif isinstance(event, End):
                said += self._end(event)
        written = "".join(f"data: {json.dumps(each)}\n\n" for each in said)
        return (written + "data: [DONE]\n\n" if said and "timings" in said[-1] else written).encode()

    def whole(self, events: Iterable[Event]) -> JsonDict:
        """All events as one reply."""
        thinking, text, calls, logprobs = [], [], list[ToolCall](), list[JsonDict]()
        end, reason = None, "stop"
        for event in events:
            if isinstance(event, Progress):
                continue
            if isinstance(event, End):
                end, chunk = event, self._reader.end(_last_chunk(event))
                logprobs += self._probabilities.end(event)
                reason = chunk.finish_reason or reason
            elif isinstance(event, Piece):
                chunk = self._reader.feed(Chunk(text=event.text))
                logprobs += self._probabilities.feed(event)
            else:
                continue
            thinking.append(chunk.thinking)
            text.append(chunk.text)
            calls += chunk.tool_calls
        message: JsonDict = {"role": "assistant", "content": "".join(text)}
        if thought := "".join(thinking):
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = _joined(calls)
        choice: JsonDict = {"finish_reason": reason, "index": self._index, "message": message}
        if logprobs:
            choice["logprobs"] = {"content": logprobs}
        reply: JsonDict = {"choices": [choice], **self._about, "object": "chat.completion"}
        return {**reply, **_totals(end)} if end else reply

    def _piece(self, piece: Piece) -> list[JsonDict]:
        chunk = self._reader.feed(Chunk(text=piece.text))
        return self._said(delta(chunk), self._probabilities.feed(piece))

    def _end(self, end: End) -> list[JsonDict]:
        chunk = self._reader.end(_last_chunk(end))
        said = self._said(delta(chunk), self._probabilities.end(end))
        said.append(self._chunk({}, chunk.finish_reason))
        totals = {"choices": [], **self._about, "object": "chat.completion.chunk", **_totals(end)}
        if end.stopping_word:
            totals["stopping_word"] = end.stopping_word  # Hutch's own: Anthropic's clients are told it
        return [*said, totals]

    def _said(self, added: JsonDict, logprobs: list[JsonDict]) -> list[JsonDict]:
        if not added and not logprobs:
            return []
        said = self._chunk(added)
        if logprobs:
            said["choices"][0]["logprobs"] = {"content": logprobs}
        return [said]

    def _chunk(self, added: JsonDict, reason: str | None = None) -> JsonDict:
        return {
            "choices": [{"finish_reason": reason, "index": self._index, "delta": added}],
            **self._about,
            "object": "chat.completion.chunk",
        }


def _last_chunk(end: End) -> Chunk:
    return Chunk(text=end.text, finish_reason="length" if end.stop_type == "limit" else "stop")


def _totals(end: End) -> JsonDict:
    timings = end.timings
    num_prompt = timings.num_cached + timings.num_prompt
    usage = {
        "completion_tokens": timings.num_predicted,
        "prompt_tokens": num_prompt,
        "total_tokens": num_prompt + timings.num_predicted,
        "prompt_tokens_details": {"cached_tokens": timings.num_cached},
    }
    return {"usage": usage, "timings": timings_json(timings)}


def _joined(calls: Iterable[ToolCall]) -> list[JsonDict]:
    """Calls whose arguments may have come in parts."""
    joined: dict[int, JsonDict] = {}
    for call in calls:
        if call.index not in joined:
            function = {"name": call.name, "arguments": ""}
            joined[call.index] = {"id": call.id, "type": "function", "function": function}
        joined[call.index]["function"]["arguments"] += call.arguments
    return list(joined.values())
