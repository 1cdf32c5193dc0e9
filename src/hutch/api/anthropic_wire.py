"""Anthropic's requests as JSON, and what goes wrong in its words. Requests become internal ones here; nothing below knows Anthropic."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from hutch.api.images import MAX_IMAGES, checked_address
from hutch.api.limits import MAX_MESSAGES, checked_effort, checked_schema, checked_tools
from hutch.api.openai_tools import choose_tools
from hutch.api.route import Wire, ignored_header
from hutch.core.chat import GenerateRequest, Image, Message, Sampling, ToolCall
from hutch.core.errors import BadInput, HutchError, NotBuilt
from hutch.core.names import ModelName
from hutch.core.options import split_options

JsonDict = dict[str, Any]
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_BOOKKEEPING = frozenset(
    ("cache_control", "diagnostics", "inference_geo", "metadata", "service_tier", "speed", "betas")
)
_NOT_BUILT = ("container", "context_management", "mcp_servers")


class AnthropicDialect:
    """`{"type": "error", "error": {"type", "message"}}`."""

    json_type = "application/json"

    def error(self, error: HutchError) -> JsonDict:
        """The JSON of an error."""
        message = f"{error.message}. {error.hint}" if error.hint else error.message
        if isinstance(error, BadInput) and error.param == "think":  # which here has another name
            message = f"thinking: {message.replace('`think`', '`thinking`')}"
        kind = _TYPES.get(error.http_status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


ANTHROPIC = AnthropicDialect()


class Source(Wire):
    """Where the bytes of an image or the text of a document are."""

    type: str
    media_type: str = ""
    data: str = ""


class Block(Wire):
    """A piece of a message's content; which fields it has depends on its type."""

    type: str
    text: str = ""
    thinking: str = ""
    source: Source | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Any] | None = None
    tool_use_id: str = ""
    content: "str | list[Block] | None" = None
    is_error: bool | None = None


class Turn(Wire):
    """A message of a conversation."""

    role: str
    content: str | list[Block]

    def internal(self, index: int) -> Iterator[Message]:
        """The messages that this one is to Hutch: results of tools are messages of their own. Raises BadInput."""
        if self.role not in ("user", "assistant", "system"):
            raise BadInput(
                f"messages.{index}.role: {self.role!r} is not user, assistant or system",
                param=f"messages.{index}.role",
            )
        if isinstance(self.content, str):
            yield Message(self.role, self.content)
            return
        rest: list[tuple[str, Block]] = []
        for i, block in enumerate(self.content):
            field = f"messages.{index}.content.{i}"
            if block.type != "tool_result":
                rest.append((field, block))
                continue
            if rest:
                yield _message(self.role, rest)
                rest = []
            yield _result(field, block)
        if rest or not self.content:
            yield _message(self.role, rest)


class Thinking(Wire):
    """Whether the model is to think before it answers."""

    type: str
    budget_tokens: int | None = None


class Format(Wire):
    """The form of the answer."""

    type: str
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class OutputConfig(Wire):
    """How much the model is to think, and in which form it is to answer."""

    effort: str | None = None
    format: Format | None = None


class Tool(Wire):
    """A tool of the client."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(Wire):
    """Whether the model may, must or must not call a tool, and which."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class CountBody(Wire):
    """`POST /v1/messages/count_tokens`."""

    model_config = Wire.model_config | {"extra": "allow"}

    model: str
    messages: list[Turn] = Field(max_length=MAX_MESSAGES)
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    def ignored(self) -> dict[str, str]:
        """A header that names what has no effect. Raises NotBuilt for documented parameters that are not built."""
        extra = self.model_extra or {}
        for name in _NOT_BUILT:
            if extra.get(name):
                raise NotBuilt(f"{name}: it is not supported", hint=f"Leave `{name}` out.", param=name)
        names = sorted(name for name in extra if name not in _BOOKKEEPING and name not in _NOT_BUILT)
        if self.thinking and self.thinking.budget_tokens is not None:
            names.append("thinking.budget_tokens")
        if self.output_config and self.output_config.effort and self._think() is False:
            names.append("output_config.effort")
        return ignored_header(names)

    def internal(self) -> GenerateRequest:
        """The request as Hutch knows it. Raises BadInput."""
        if not self.messages:
            raise BadInput("messages: at least one message is required", param="messages")
        choice = self.tool_choice
        tools, wanted = choose_tools(_tools(self.tools), _choice(choice))
        return GenerateRequest(
            model=ModelName.parse(self.model),
            messages=(
                *self._system(),
                *(said for i, turn in enumerate(self.messages) for said in turn.internal(i)),
            ),
            sampling=self.sampling(),
            dialect_defaults=Sampling(temperature=1.0, top_p=1.0),
            response_format=self._format(),
            tools=tools,
            tool_choice=wanted,
            parallel_tool_calls=not (choice and choice.disable_parallel_tool_use),
            think=self._think(),
            needs_thinking=not self.thinking or self.thinking.type != "adaptive",
            truncate=False,
        )

    def sampling(self) -> Sampling:
        """None of it says how tokens are chosen."""
        return Sampling()

    def _system(self) -> Iterator[Message]:
        if isinstance(self.system, str):
            yield Message("system", self.system)
        elif self.system:
            yield _message("system", [(f"system.{i}", block) for i, block in enumerate(self.system)])

    def _think(self) -> bool | str | None:
        kind = self.thinking.type if self.thinking else "disabled"
        if kind not in ("enabled", "disabled", "adaptive"):
            raise BadInput("thinking.type: it takes enabled, disabled or adaptive", param="thinking.type")
        effort = self.output_config.effort if self.output_config else None
        level = checked_effort(effort, "output_config.effort", least="low")
        if kind == "disabled":
            return False
        return level or (None if kind == "adaptive" else True)  # None: as far as the model can

    def _format(self) -> JsonDict | None:
        wanted = self.output_config.format if self.output_config else None
        if wanted is None:
            return None
        if wanted.type != "json_schema" or wanted.json_schema is None:
            raise BadInput(
                "output_config.format: it takes json_schema with a schema", param="output_config.format"
            )
        return checked_schema(wanted.json_schema, "output_config.format")


class MessagesBody(CountBody):
    """`POST /v1/messages`."""

    max_tokens: int
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None

    def sampling(self) -> Sampling:
        """The sampling parameters, checked. Raises BadInput that names the one that is wrong."""
        for name, value, low, high in (
            ("temperature", self.temperature, 0, 1),
            ("top_p", self.top_p, 0, 1),
            ("max_tokens", self.max_tokens, 1, 1 << 24),
        ):
            if value is not None and not low <= value <= high:
                raise BadInput(f"{name}: {value} is not between {low} and {high}", param=name)
        known, _ = split_options(
            {
                "temperature": self.temperature,
                "top_p": self.top_p,
                "top_k": self.top_k,
                "stop": self.stop_sequences,
                "num_predict": self.max_tokens,
            }
        )
        return known


def _message(role: str, blocks: list[tuple[str, Block]]) -> Message:
    """One message of all these blocks, none of which is a result of a tool."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    images: list[Image] = []
    for field, block in blocks:
        match block.type:
            case "text":
                texts.append(block.text)
            case "thinking":
                thoughts.append(block.thinking)
            case "redacted_thinking":
                pass  # sealed by whoever wrote it
            case "image" if role == "user":
                images.append(_image(field, block, len(images)))
            case "document" if block.source is not None and block.source.type == "text":
                texts.append(block.source.data)
            case "tool_use" if role == "assistant":
                calls.append(ToolCall(len(calls), block.id, block.name, _json(block.input or {})))
            case _:
                raise NotBuilt(
                    f"{field}: blocks of type {block.type!r} are not supported here",
                    hint="Send text, image, tool_use and tool_result blocks.",
                    param=field,
                )
    return Message(role, "\n".join(texts), "".join(thoughts), tuple(calls), images=tuple(images))


def _result(field: str, block: Block) -> Message:
    parts = (
        [Block(type="text", text=block.content)] if isinstance(block.content, str) else block.content or []
    )
    said = _message("user", [(f"{field}.content.{i}", part) for i, part in enumerate(parts)])
    text = f"Error: {said.content}" if block.is_error else said.content
    return Message("tool", text, tool_call_id=block.tool_use_id, images=said.images)


def _image(field: str, block: Block, num_before: int) -> Image:
    if num_before == MAX_IMAGES:
        raise BadInput(f"{field}: more than {MAX_IMAGES} images", param=field)
    source = block.source
    if source is None or source.type != "base64":
        raise NotBuilt(
            f"{field}.source: only base64 images are supported, no addresses and no files", param=field
        )
    return checked_address(f"data:{source.media_type};base64,{source.data}", f"{field}.source")


def _tools(tools: list[Tool] | None) -> tuple[JsonDict, ...]:
    """The tools as functions, which is what the engines know. Raises BadInput that says which is wrong."""
    functions: list[JsonDict] = []
    for index, tool in enumerate(tools or ()):
        if tool.type not in (None, "custom"):
            raise NotBuilt(
                f"tools.{index}.type: {tool.type!r} is a tool of Anthropic's own servers",
                hint="Describe a tool of your own, with an input_schema.",
                param=f"tools.{index}.type",
            )
        if tool.input_schema is None:
            raise BadInput(f"tools.{index}.input_schema: Field required", param=f"tools.{index}.input_schema")
        checked_schema(tool.input_schema, f"tools.{index}.input_schema")
        function: JsonDict = {"name": tool.name, "parameters": tool.input_schema}
        if tool.description is not None:
            function["description"] = tool.description
        functions.append({"type": "function", "function": function})
    return checked_tools(functions)


def _choice(choice: ToolChoice | None) -> str | JsonDict | None:
    """The choice in OpenAI's words, which is how it is asked of the engines."""
    if choice is None:
        return None
    if choice.type == "tool":
        return {"function": {"name": choice.name}}
    known = {"auto": "auto", "any": "required", "none": "none"}
    if choice.type not in known:
        raise BadInput("tool_choice.type: it takes auto, any, tool or none", param="tool_choice.type")
    return known[choice.type]


def _json(value: JsonDict) -> str:
    return json.dumps(value, ensure_ascii=False)
