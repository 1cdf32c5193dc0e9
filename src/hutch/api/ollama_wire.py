"""Ollama's requests and replies as JSON. Requests become internal ones here; nothing below knows Ollama."""

import json
import logging
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, field_validator
from pydantic_core import to_json

from hutch.api.images import checked_images
from hutch.api.limits import (
    MAX_MESSAGES,
    MAX_TOP_LOGPROBS,
    THINK_LEVELS,
    checked_schema,
    checked_token_ids,
    checked_tools,
)
from hutch.api.route import Wire
from hutch.core.chat import (
    Chunk,
    GenerateRequest,
    LoadOptions,
    Message,
    Sampling,
    TokenLogprob,
    ToolCall,
    Usage,
)
from hutch.core.durations import parse_keep_alive_s
from hutch.core.errors import BadInput, EngineFailed, HutchError, NotBuilt, NotFound
from hutch.core.names import ModelName
from hutch.core.options import OPTION_TYPES, split_options

_log = logging.getLogger(__name__)
JsonDict = dict[str, Any]


class OllamaDialect:
    """`{"error": message}`, with Hutch's code for it and the next step beside it."""

    json_type = "application/json; charset=utf-8"

    def error(self, error: HutchError) -> JsonDict:
        """The JSON of an error."""
        return {"error": error.message, "code": error.code} | ({"hint": error.hint} if error.hint else {})


OLLAMA = OllamaDialect()


class _Common(Wire):
    model: str | None = None
    stream: bool | None = None
    format: Any = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None
    think: bool | str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool | None = Field(default=None, alias="_debug_render_only")

    @field_validator("think", mode="before")
    @classmethod
    def _known_think(cls, think: object) -> object:
        if think is None or isinstance(think, bool) or think in THINK_LEVELS:
            return think
        raise BadInput(
            f"invalid think value: {json.dumps(think, ensure_ascii=False)[:60]} "
            '(must be "high", "medium", "low", "max", true, or false)',
            param="think",
        )


class FunctionCall(Wire):
    """A function that an assistant message called."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class AssistantToolCall(Wire):
    """A tool call in the history."""

    id: str | None = None
    function: FunctionCall


class ChatMessage(Wire):
    """A message of `/api/chat`."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[AssistantToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    def internal(self, index: int) -> Message:
        """The message as Hutch knows it. Raises BadInput that names what is wrong with it."""
        role = self.role.lower()
        if role not in ("system", "user", "assistant", "tool"):
            raise BadInput(f"messages.{index}.role: {self.role!r} is none of system, user, assistant, tool")
        calls = tuple(
            ToolCall(
                i, call.id or f"call_{index}_{i}", call.function.name, json.dumps(call.function.arguments)
            )
            for i, call in enumerate(self.tool_calls or ())
        )
        return Message(
            role,
            self.content or "",
            self.thinking or "",
            calls,
            self.tool_call_id or "",
            self.tool_name or "",
            checked_images(self.images, f"messages.{index}.images"),
        )


class ChatBody(_Common):
    """`POST /api/chat`."""

    messages: list[ChatMessage] | None = Field(None, max_length=MAX_MESSAGES)
    tools: list[dict[str, Any]] | None = None

    def internal(self) -> GenerateRequest:
        """The request as Hutch knows it. Raises BadInput."""
        return _request(
            self,
            messages=tuple(message.internal(i) for i, message in enumerate(self.messages or ())),
            tools=checked_tools(self.tools),
        )


class GenerateBody(_Common):
    """`POST /api/generate`."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None

    def internal(self) -> GenerateRequest:
        """The request as Hutch knows it. Raises BadInput."""
        if self.images and (self.raw or self.context):
            raise NotBuilt(
                "images together with raw or context is not supported",
                hint="Send a conversation to /api/chat.",
            )
        if self.raw:
            if self.template or self.system or self.context:
                raise BadInput("raw mode does not support template, system, or context")
            if self.suffix:
                raise BadInput(
                    "raw mode does not support suffix", hint="Put the model's own marks into `prompt`."
                )
            return _request(self, prompt=self.prompt or "")
        if self.suffix:
            return _request(
                self,
                prompt=self.prompt or "",
                suffix=self.suffix,
                template=self.template or None,
                context=checked_token_ids(self.context or (), "context"),
                want_context=True,
            )
        system = (Message("system", self.system),) if self.system else ()
        images = checked_images(self.images, "images")
        return _request(
            self,
            messages=(*system, Message("user", self.prompt or "", images=images)),
            template=self.template or None,
            context=checked_token_ids(self.context or (), "context"),
            want_context=not images,  # a picture has no tokens that could be told
        )


class EmbedBody(Wire):
    """`POST /api/embed`."""

    model: str | None = None
    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: object) -> object:
        items = enumerate(given) if isinstance(given, list) else ()
        wrong = next((f"input.{index}" for index, item in items if not isinstance(item, str)), "")
        if wrong or not (given is None or isinstance(given, str | list)):
            wrong = wrong or "input"
            raise BadInput(f"invalid input type: {wrong} is no text", param=wrong)
        return given


class EmbeddingsBody(Wire):
    """`POST /api/embeddings`, the older form."""

    model: str | None = None
    prompt: str | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


def model_name(text: str | None) -> ModelName:
    """The name in a request. Raises NotFound in Ollama's words where there is none."""
    if not text:
        raise NotFound("model '' not found", hint='Name a model in the field "model".')
    return ModelName.parse(text)


def options_of(options: JsonDict | None) -> tuple[Sampling, LoadOptions]:
    """A request's options, sorted. Unknown and deprecated ones are logged and passed over, as clients of Ollama expect."""
    unknown = [name for name in options or () if name not in OPTION_TYPES]
    if unknown:
        _log.warning("invalid option provided: %s", ", ".join(ascii(name[:64]) for name in unknown[:10]))
    return split_options(options or {})


def _request(body: _Common, **parts: Any) -> GenerateRequest:
    sampling, load = options_of(body.options)
    top = body.top_logprobs or 0
    if not 0 <= top <= MAX_TOP_LOGPROBS:
        raise BadInput(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return GenerateRequest(
        model=model_name(body.model),
        sampling=sampling,
        load=replace(load, shift=body.shift),
        keep_alive_s=parse_keep_alive_s(body.keep_alive),
        response_format=_format(body.format),
        top_logprobs=top if body.logprobs else None,
        truncate=body.truncate is not False,
        think=body.think,
        **parts,
    )


def _format(value: Any) -> Any:
    if value is None or value == "":
        return None
    if value == "json":
        return "json"
    if isinstance(value, dict):
        return checked_schema(value, "format")
    raise BadInput(f'invalid format: {json.dumps(value)[:60]}; expected "json" or a valid JSON Schema object')


def now() -> str:
    """The present moment as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def line(reply: JsonDict) -> bytes:
    """A reply as one line of NDJSON."""
    return to_json(reply) + b"\n"


def error_line(error: HutchError) -> bytes:
    """An error as the last line of NDJSON."""
    return line(OLLAMA.error(error))


def finished(chunk: Chunk) -> JsonDict:
    """The fields that only the last reply has: why it ended, and what it took, in nanoseconds."""
    usage = chunk.usage or Usage()
    took = {
        "total_duration": _ns(usage.total_s),
        "load_duration": _ns(usage.load_s),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": _ns(usage.prompt_s),
        "eval_count": usage.completion_tokens,
        "eval_duration": _ns(usage.decode_s),
    }
    reason = "length" if chunk.finish_reason == "length" else "stop"
    return {"done": True, "done_reason": reason} | {name: value for name, value in took.items() if value}


def logprobs(entries: tuple[TokenLogprob, ...]) -> list[JsonDict]:
    """Log-probabilities as both Ollama and OpenAI write them."""
    return [_token(entry) | {"top_logprobs": [_token(other) for other in entry.top]} for entry in entries]


def tool_calls(pieces: list[ToolCall]) -> list[JsonDict]:
    """The calls whose pieces came in a stream. Raises EngineFailed where their arguments are no JSON object."""
    calls: dict[int, JsonDict] = {}
    for piece in pieces:
        call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or piece.id
        call["name"] += piece.name
        call["arguments"] += piece.arguments
    return [
        {
            "id": call["id"],
            "function": {"index": index, "name": call["name"], "arguments": _object(call["arguments"])},
        }
        for index, call in sorted(calls.items())
    ]


def _object(text: str) -> JsonDict:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise EngineFailed(
            "the model called a tool with arguments that are no JSON object",
            hint="Ask again, or allow more tokens with num_predict.",
        )
    return value


def _token(entry: TokenLogprob) -> JsonDict:
    logprob = entry.logprob if math.isfinite(entry.logprob) else -9999.0  # JSON has no infinity
    return {"token": entry.token, "logprob": logprob, "bytes": list(entry.bytes)}


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
