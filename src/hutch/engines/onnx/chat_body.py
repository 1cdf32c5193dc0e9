"""A request for an answer in a conversation, checked: the body of `/v1/chat/completions` and `/apply-template`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hutch.core.errors import BadInput

JsonDict = dict[str, Any]

MAX_TOOLS = 256
_SET_HERE = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})


@dataclass(frozen=True, slots=True)
class ChatBody:
    """What the request says. `tools`: those that may be called, none where it chooses none.

    `choice`: "auto", "required", or the name of the tool that is to be called. `schema`: what the answer is to follow.
    `options`: variables for the template, such as enable_thinking. `opens_answer`: whether the prompt goes on to where the
    answer begins. `images`: in base64, in the order of their markers in the messages.
    """

    messages: tuple[Mapping[str, Any], ...]
    images: tuple[str, ...]
    tools: tuple[JsonDict, ...]
    choice: str
    has_parallel_calls: bool
    schema: Mapping[str, Any] | None
    options: Mapping[str, Any]
    opens_answer: bool

    @classmethod
    def of(cls, body: Mapping[str, Any], marker: str = "") -> "ChatBody":
        """Check a body. `marker`: what stands for an image; "": the model sees none. Raises BadInput that names the field."""
        tools = _tools(body)
        images: list[str] = []
        return cls(
            messages=tuple(_messages(body, marker, images)),
            images=tuple(images),
            tools=tuple(tools),
            choice=_choice(body, [tool["function"]["name"] for tool in tools]),
            has_parallel_calls=bool(body.get("parallel_tool_calls", True)),
            schema=_schema(body),
            options=_options(body),
            opens_answer=body.get("add_generation_prompt") is not False,
        )


def _options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    options = body.get("chat_template_kwargs") or {}
    if not isinstance(options, Mapping):
        raise BadInput("chat_template_kwargs is no object", param="chat_template_kwargs")
    return {name: value for name, value in options.items() if name not in _SET_HERE}


def _messages(body: Mapping[str, Any], marker: str, images: list[str]) -> list[Mapping[str, Any]]:
    """The messages as text with markers; what these stand for is added to `images`."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadInput("messages: a list of messages is needed", param="messages")
    return [_message(message, index, marker, images) for index, message in enumerate(messages)]


def _message(message: object, index: int, marker: str, images: list[str]) -> Mapping[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise BadInput(f"messages[{index}]: a message is an object with a role", param="messages")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join([_part(part, index, marker, images) for part in content])
    if content is not None and not isinstance(content, str):
        raise BadInput(f"messages[{index}]: content is text", param="messages")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
        raise BadInput(f"messages[{index}]: a tool call is an object with a function", param="messages")
    return {**message, "content": content or ""}


def _part(part: object, index: int, marker: str, images: list[str]) -> str:
    said = part if isinstance(part, Mapping) else {}
    if isinstance(said.get("text"), str):
        return str(said["text"])
    address = said.get("image_url")
    url = address.get("url") if isinstance(address, Mapping) else None
    if not marker or not isinstance(url, str) or not url.startswith("data:"):
        raise BadInput(
            f"messages[{index}]: this model reads text{' and images in base64' * bool(marker)} alone",
            hint="Leave the image out, or use a model that sees.",
            param="messages",
        )
    images.append(url.partition(",")[2])
    return marker


def _is_call(call: object) -> bool:
    function = call.get("function") if isinstance(call, Mapping) else None
    return isinstance(function, Mapping) and isinstance(function.get("name"), str) and "arguments" in function


def _tools(body: Mapping[str, Any]) -> list[JsonDict]:
    tools = body.get("tools") or []
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise BadInput(f"tools: a list of at most {MAX_TOOLS} is needed", param="tools")
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise BadInput(
                f"tools[{index}]: a tool is an object with a function that has a name", param="tools"
            )
        if not isinstance(function.get("parameters") or {}, Mapping):
            raise BadInput(f"tools[{index}]: parameters are a JSON Schema", param="tools")
    return [] if body.get("tool_choice") == "none" else tools


def _choice(body: Mapping[str, Any], names: Sequence[str]) -> str:
    """`auto`, `required`, or the name of the tool that is to be called. Raises BadInput."""
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if name in names:
            return str(name)
        raise BadInput(f"tool_choice: there is no tool {name!r}", hint=_known(names), param="tool_choice")
    if choice in ("auto", "none"):
        return "auto"
    if choice == "required" and names:
        return "required"
    raise BadInput(
        f"tool_choice: {choice!r} cannot be done",
        hint="Say auto, none, required (with tools) or name one.",
        param="tool_choice",
    )


def _known(names: Sequence[str]) -> str:
    return f"There are: {', '.join(names)}." if names else "Give it in `tools`."


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON Schema that the answer is to follow, where there is one."""
    form = body.get("response_format") or {}
    if not isinstance(form, Mapping) or form.get("type", "text") not in (
        "text",
        "json_object",
        "json_schema",
    ):
        raise BadInput(
            "response_format is text, json_object or json_schema",
            hint='For a schema: {"type": "json_schema", "json_schema": {"schema": …}}.',
            param="response_format",
        )
    if form.get("type", "text") == "text":
        return None
    inner = form.get("json_schema") if form["type"] == "json_schema" else {"schema": form.get("schema")}
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if schema is None and form["type"] == "json_object":
        return {"type": "object"}
    if not isinstance(schema, Mapping):
        raise BadInput("response_format: json_schema has no schema", param="response_format")
    return schema
