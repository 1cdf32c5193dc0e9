"""OpenAI's requests and replies as JSON. Requests become internal ones here; nothing below knows OpenAI."""

import json
import time
from typing import Any

from pydantic import Field

from hutch.api.constraints import Constrained
from hutch.api.images import MAX_IMAGES, checked_address
from hutch.api.limits import (
    MAX_CHOICES,
    MAX_MESSAGES,
    MAX_TOP_LOGPROBS,
    checked_effort,
    checked_token_ids,
)
from hutch.api.openai_tools import callable_tools
from hutch.api.route import Wire, ignored_header
from hutch.core.chat import Form, GenerateRequest, Image, Message, Sampling, ToolCall, Usage
from hutch.core.errors import BadInput, ContextExceeded, HutchError, NotBuilt, NotFound
from hutch.core.names import ModelName
from hutch.core.options import split_options

JsonDict = dict[str, Any]
# OpenAI's documented defaults; a model's own parameters come before them.
DEFAULTS = Sampling(temperature=1.0, top_p=1.0)
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
}
_TYPES |= {413: "invalid_request_error", 415: "invalid_request_error", 429: "rate_limit_error"}
_BOOKKEEPING = frozenset(
    (
        "user",
        "metadata",
        "store",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
    )
) | {"prediction"}
# Documented parameters that would change the answer, with the values that ask for what is done anyway.
_NOT_BUILT: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}


_ROLES = {"developer": "system", "function": "tool"}


class OpenAIDialect:
    """`{"error": {"message", "type", "param", "code"}}`. `text_param` is where a route takes its text."""

    json_type = "application/json"

    def __init__(self, text_param: str = "messages") -> None:
        self._text_param = text_param

    def error(self, error: HutchError) -> JsonDict:
        """The JSON of an error."""
        message = f"{error.message}. {error.hint}" if error.hint else error.message
        param = error.param if isinstance(error, BadInput) else None
        if isinstance(error, ContextExceeded):
            param = self._text_param
        elif param == "think":  # which here has another name
            param = "reasoning_effort"
            message = f"{param}: {message.replace('`think`', f'`{param}`')}"
        code = "model_not_found" if type(error) is NotFound else error.code
        return {
            "error": {
                "message": message,
                "type": _TYPES.get(error.http_status, "api_error"),
                "param": param,
                "code": code,
            }
        }


OPENAI = OpenAIDialect()


class StreamOptions(Wire):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


class OpenBody(Wire):
    """A body whose unknown parameters are told, not refused."""

    model_config = Wire.model_config | {"extra": "allow"}

    model: str

    def unknown(self) -> dict[str, str]:
        """A header that names parameters nobody has documented. Raises NotBuilt for documented ones not built."""
        extra = self.model_extra or {}
        for name, neutral in _NOT_BUILT.items():
            if name in extra and extra[name] not in neutral:
                raise NotBuilt(
                    f"{name}: {json.dumps(extra[name])[:40]} is not supported",
                    hint=f"Leave `{name}` out.",
                    param=name,
                )
        names = sorted(name for name in extra if name not in _BOOKKEEPING and name not in _NOT_BUILT)
        return ignored_header(names)


class SampledBody(Constrained, OpenBody):
    """What chats and completions have in common."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    n: int | None = None

    @property
    def num_choices(self) -> int:
        """How many answers are wanted. Raises BadInput for too many."""
        ranged("n", self.n, 1, MAX_CHOICES)
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, max_tokens: int | None, name: str = "max_tokens") -> Sampling:
        """The sampling parameters, checked; `name` is what bounds the answer. Raises BadInput that names the one that is wrong."""
        ranged("temperature", self.temperature, 0, 2)
        ranged("top_p", self.top_p, 0, 1)
        ranged("frequency_penalty", self.frequency_penalty, -2, 2)
        ranged("presence_penalty", self.presence_penalty, -2, 2)
        ranged(name, max_tokens, 0, 1 << 24)
        known, _ = split_options(
            {
                "temperature": self.temperature,
                "top_p": self.top_p,
                "seed": self.seed,
                "stop": self.stop,
                "frequency_penalty": self.frequency_penalty,
                "presence_penalty": self.presence_penalty,
                "num_predict": max_tokens,
            }
        )
        return Sampling(logit_bias=_bias(self.logit_bias)).over(known)


class ImageAddress(Wire):
    """An image inside its own address. `detail` is for servers that look at it twice."""

    url: str
    detail: str | None = None


class Part(Wire):
    """A piece of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageAddress | str | None = None


class Function(Wire):
    """A function that an assistant message called."""

    name: str
    arguments: str = "{}"


class AssistantToolCall(Wire):
    """A tool call in the history."""

    id: str
    function: Function


class ChatMessage(Wire):
    """A message of a conversation."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[AssistantToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None  # the deprecated form of tool_calls
    reasoning_content: str | None = None
    reasoning: str | None = None  # its other name
    refusal: str | None = None  # what was said instead of content
    audio: dict[str, Any] | None = None  # the id of an answer that was spoken

    def internal(self, index: int) -> Message:
        """The message as Hutch knows it. Raises BadInput that names what is wrong with it."""
        role = _ROLES.get(self.role, self.role)
        if role not in ("system", "user", "assistant", "tool"):
            raise BadInput(
                f"messages.{index}.role: {self.role!r} is not a known role", param=f"messages.{index}.role"
            )
        if self.audio is not None:
            raise NotBuilt(
                f"messages.{index}.audio: no answer is spoken here",
                hint="Send what was said as `content`.",
                param=f"messages.{index}.audio",
            )
        calls = tuple(
            ToolCall(i, call.id, call.function.name, call.function.arguments)
            for i, call in enumerate(self.tool_calls or ())
        )
        if self.function_call:
            calls += (ToolCall(len(calls), "", self.function_call.name, self.function_call.arguments),)
        return Message(
            role,
            self._text(index),
            self.reasoning_content or self.reasoning or "",
            calls,
            self.tool_call_id or "",
            self.name or "",
            self._images(index),
        )

    def _text(self, index: int) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or self.refusal or ""
        for i, part in enumerate(self.content):
            if part.type not in ("text", "input_text", "output_text", "refusal", "image_url"):
                raise NotBuilt(
                    f"messages.{index}.content.{i}: parts of type {part.type!r} are not supported yet",
                    param=f"messages.{index}.content.{i}",
                )
        return "\n".join(part.text or part.refusal or "" for part in self.content if part.type != "image_url")

    def _images(self, index: int) -> tuple[Image, ...]:
        found: list[Image] = []
        for i, part in enumerate(self.content if isinstance(self.content, list) else ()):
            field = f"messages.{index}.content.{i}.image_url"
            if part.type != "image_url":
                continue
            if part.image_url is None or len(found) == MAX_IMAGES:
                raise BadInput(
                    f"{field}: {f'more than {MAX_IMAGES} images' if found else 'Field required'}", param=field
                )
            url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
            found.append(checked_address(url, field))
        return tuple(found)


class Reasoning(Wire):
    """How much to think, as the Responses API and clients of Ollama say it."""

    effort: str | None = None


class ChatBody(SampledBody):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None  # the deprecated form of tools
    function_call: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    def internal(self) -> GenerateRequest:
        """The request as Hutch knows it. Raises BadInput."""
        if not self.messages:
            raise BadInput("[] is too short - 'messages'", param="messages")
        tools, choice = callable_tools(self.tools, self.tool_choice, self.functions, self.function_call)
        form = self.form()
        if tools and isinstance(form, Form):
            raise BadInput(f"{form.param}: it cannot be given together with tools", param=form.param)
        ranged("top_logprobs", self.top_logprobs, 0, MAX_TOP_LOGPROBS)
        if self.top_logprobs is not None and not self.logprobs:
            raise BadInput("top_logprobs needs logprobs: true", param="top_logprobs")
        limit = (self.max_tokens, "max_tokens")
        if self.max_completion_tokens is not None:
            limit = (self.max_completion_tokens, "max_completion_tokens")
        return GenerateRequest(
            model=ModelName.parse(self.model),
            messages=tuple(message.internal(i) for i, message in enumerate(self.messages)),
            sampling=self.sampling(*limit),
            dialect_defaults=DEFAULTS,
            num_choices=self.num_choices,
            response_format=form,
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=self.parallel_tool_calls is not False and self.functions is None,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            think=checked_effort(
                self.reasoning_effort or (self.reasoning.effort if self.reasoning else None),
                "reasoning_effort",
            ),
            truncate=False,
        )


def usage_json(usage: Usage) -> JsonDict:
    """The tokens that a request took."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def created() -> int:
    """The present moment in Unix seconds."""
    return int(time.time())


def ranged(name: str, value: float | None, low: float, high: float) -> None:
    """Refuse a number that is out of its range. Raises BadInput that names it."""
    if value is not None and not low <= value <= high:
        raise BadInput(f"{name}: {value} is not between {low} and {high}", param=name)


def _bias(bias: dict[str, float] | None) -> tuple[tuple[int, float], ...] | None:
    if bias is None:
        return None
    pairs: list[tuple[int, float]] = []
    for token, value in bias.items():
        if not token.isdecimal():
            raise BadInput(f"logit_bias: {token[:20]!r} is no token id", param="logit_bias")
        ranged("logit_bias", value, -100, 100)
        [token_id] = checked_token_ids((int(token[:20]),), "logit_bias")
        pairs.append((token_id, value))
    if len(pairs) > 1024:
        raise BadInput("logit_bias: more than 1024 tokens", param="logit_bias")
    return tuple(pairs)
