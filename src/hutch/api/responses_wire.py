"""OpenAI's Responses as JSON: requests and the items of a conversation. They become internal requests and messages here."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from hutch.api.images import MAX_IMAGES, checked_address
from hutch.api.limits import MAX_MESSAGES, MAX_TOP_LOGPROBS, checked_effort, checked_schema, checked_tools
from hutch.api.openai_tools import choose_tools
from hutch.api.openai_wire import DEFAULTS, JsonDict, ranged
from hutch.api.route import Wire, ignored_header
from hutch.core.chat import GenerateRequest, Message, Sampling, ToolCall
from hutch.core.errors import BadInput, NotBuilt
from hutch.core.names import ModelName

_LOGPROBS = "message.output_text.logprobs"
_BOOKKEEPING = frozenset(
    (
        *("access_programs", "user", "service_tier", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "safety_identifier", "stream_options"),
    )
)
# Documented parameters that would change the answer, with the values that ask for what is done anyway.
_NOT_BUILT: Mapping[str, tuple[Any, ...]] = {
    "background_options": (None,),
    "context_management": (None, []),
    "conversation": (None,),
    "image": (None,),
    "max_tool_calls": (None,),
    "moderation": (None,),
    "prompt": (None,),
}


class Reasoning(Wire):
    """How much the model is to think."""

    effort: str | None = None
    summary: str | None = None


class Format(Wire):
    """The form of the answer."""

    type: str
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class Text(Wire):
    """What the answer is to be like."""

    format: Format | None = None
    verbosity: str | None = None


class ResponsesBody(Wire):
    """`POST /v1/responses`."""

    model_config = Wire.model_config | {"extra": "allow"}

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    reasoning: Reasoning | None = None
    text: Text | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    truncation: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None

    def ignored(self) -> dict[str, str]:
        """A header that names parameters nobody has documented. Raises NotBuilt for documented ones not built."""
        extra = self.model_extra or {}
        for name, neutral in _NOT_BUILT.items():
            if name in extra and extra[name] not in neutral:
                raise NotBuilt(f"{name}: it is not supported", hint=f"Leave `{name}` out.", param=name)
        names = sorted(name for name in extra if name not in _BOOKKEEPING and name not in _NOT_BUILT)
        return ignored_header(names)

    def items(self) -> list[JsonDict]:
        """What is said in this request, each with an id. Raises BadInput."""
        said: list[JsonDict] = (
            [{"role": "user", "content": [{"type": "input_text", "text": self.input}]}]
            if isinstance(self.input, str)
            else self.input
        )
        if not said or len(said) > MAX_MESSAGES:
            raise BadInput(
                f"input: {f'more than {MAX_MESSAGES} items' if said else 'it is empty'}", param="input"
            )
        return [_identified(item, index) for index, item in enumerate(said)]

    def internal(self, items: Sequence[JsonDict]) -> GenerateRequest:
        """The request as Hutch knows it, for a whole conversation of items. Raises BadInput."""
        functions = [_function(tool, index) for index, tool in enumerate(self.tools or ())]
        tools, choice = choose_tools(checked_tools(functions), _choice(self.tool_choice))
        system = (Message("system", self.instructions),) if self.instructions else ()
        return GenerateRequest(
            model=ModelName.parse(self.model),
            messages=(*system, *messages_of(items)),
            sampling=self._sampling(),
            dialect_defaults=DEFAULTS,
            response_format=self._format(),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=self.parallel_tool_calls is not False,
            top_logprobs=self._logprobs(),
            think=checked_effort(self.reasoning.effort if self.reasoning else None, "reasoning.effort"),
            truncate=self._truncate(),
        )

    def _sampling(self) -> Sampling:
        ranged("temperature", self.temperature, 0, 2)
        ranged("top_p", self.top_p, 0, 1)
        ranged("max_output_tokens", self.max_output_tokens, 1, 1 << 24)
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_output_tokens)

    def _logprobs(self) -> int | None:
        ranged("top_logprobs", self.top_logprobs, 0, MAX_TOP_LOGPROBS)
        others = sorted(set(self.include or ()) - {_LOGPROBS, "reasoning.encrypted_content"})
        if others:
            raise NotBuilt(f"include: {others[0][:80]!r} is not supported", param="include")
        return (self.top_logprobs or 0) if _LOGPROBS in (self.include or ()) or self.top_logprobs else None

    def _truncate(self) -> bool:
        if self.truncation not in (None, "auto", "disabled"):
            raise BadInput("truncation: it takes auto or disabled", param="truncation")
        return self.truncation == "auto"

    def _format(self) -> Any:
        if self.text and self.text.verbosity not in (None, "medium"):
            raise NotBuilt("text.verbosity: it is not supported", param="text.verbosity")
        wanted = self.text.format if self.text else None
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return "json"
        if wanted.type != "json_schema" or wanted.json_schema is None:
            raise BadInput(
                "text.format: it takes text, json_object, or json_schema with a schema", param="text.format"
            )
        return checked_schema(wanted.json_schema, "text.format")


def new_id(kind: str) -> str:
    """A name that nothing else has."""
    return f"{kind}_{uuid.uuid4().hex}"


def _identified(item: JsonDict, index: int) -> JsonDict:
    """The item with a type and an id. Raises BadInput where it has another id than a text."""
    name = item.get("id")
    if name is not None and not isinstance(name, str):
        raise BadInput(f"input.{index}.id: a text is needed", param=f"input.{index}.id")
    return {"type": "message", **item, "id": name or new_id("msg")}


def messages_of(items: Iterable[JsonDict]) -> tuple[Message, ...]:
    """The conversation that these items are. Raises BadInput that says which of them is wrong."""
    said: list[Message] = []
    thinking = ""
    for index, item in enumerate(items):
        field = f"input.{index}"
        match item.get("type"):
            case "message":
                said.append(_message(item, field, thinking))
                thinking = ""
            case "reasoning":
                thinking += "".join(_texts(item.get("content") or item.get("summary"), field))
            case "function_call":
                call = _call(item, field)
                last = said[-1] if said else None
                if last is not None and last.role == "assistant" and not thinking:
                    said.pop()
                else:
                    last = Message("assistant", "", thinking)
                    thinking = ""
                calls = (*last.tool_calls, ToolCall(len(last.tool_calls), *call))
                said.append(Message("assistant", last.content, last.thinking, calls))
            case "function_call_output":
                output = item.get("output")
                text = output if isinstance(output, str) else "\n".join(_texts(output, field))
                said.append(Message("tool", text, tool_call_id=_text(item, "call_id", field)))
            case kind:
                raise NotBuilt(f"{field}.type: {str(kind)[:40]!r} is not supported", param=f"{field}.type")
    return tuple(said)


def _message(item: JsonDict, field: str, thinking: str) -> Message:
    role = "system" if item.get("role") == "developer" else item.get("role")
    if role not in ("user", "assistant", "system"):
        raise BadInput(f"{field}.role: it takes user, assistant, system or developer", param=f"{field}.role")
    content = item.get("content")
    if isinstance(content, str):
        return Message(role, content, thinking)
    images = tuple(
        checked_address(_text(part, "image_url", f"{field}.content.{i}"), f"{field}.content.{i}.image_url")
        for i, part in enumerate(content if isinstance(content, list) else ())
        if isinstance(part, dict) and part.get("type") == "input_image"
    )
    if len(images) > MAX_IMAGES:
        raise BadInput(f"{field}.content: more than {MAX_IMAGES} images", param=f"{field}.content")
    return Message(role, "\n".join(_texts(content, field)), thinking, images=images)


def _texts(parts: Any, field: str) -> list[str]:
    """The texts of parts. Raises BadInput for what is no list of them."""
    if not isinstance(parts, list):
        raise BadInput(f"{field}: a text or a list of parts is needed", param=field)
    texts: list[str] = []
    for index, part in enumerate(parts):
        where = f"{field}.content.{index}"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
            texts.append(_text(part, "text", where))
        elif kind == "refusal":
            texts.append(_text(part, "refusal", where))
        elif kind != "input_image":
            raise NotBuilt(f"{where}: parts of type {str(kind)[:40]!r} are not supported", param=where)
    return texts


def _text(item: JsonDict, name: str, field: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise BadInput(f"{field}.{name}: a text is needed", param=f"{field}.{name}")
    return value


def _call(item: JsonDict, field: str) -> tuple[str, str, str]:
    arguments = _text(item, "arguments", field)
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        raise BadInput(f"{field}.arguments: it is no JSON", param=f"{field}.arguments") from None
    return _text(item, "call_id", field), _text(item, "name", field), arguments


def _function(tool: JsonDict, index: int) -> JsonDict:
    """A tool of the Responses API as one of chat completions, which is how the engines know it."""
    if tool.get("type") != "function":
        raise NotBuilt(
            f"tools.{index}.type: only tools of type function are supported", param=f"tools.{index}.type"
        )
    return {
        "type": "function",
        "function": {name: tool[name] for name in tool if name not in ("type", "strict")},
    }


def _choice(choice: str | JsonDict | None) -> str | JsonDict | None:
    """The choice in the words of chat completions."""
    if isinstance(choice, dict):
        return {"function": {"name": choice.get("name")}}
    return choice
