"""Which tools a model is shown and whether it has to call one: by `tools` and `tool_choice`, or by their deprecated forms."""

from typing import Any

from hutch.api.limits import checked_tools
from hutch.core.errors import BadInput

JsonDict = dict[str, Any]
_DEPRECATED = {"tool_choice": "function_call", "tools": "functions", ".function": ""}


def callable_tools(
    tools: list[JsonDict] | None,
    choice: str | JsonDict | None,
    functions: list[JsonDict] | None,
    call: str | JsonDict | None,
) -> tuple[tuple[JsonDict, ...], str | None]:
    """What the model may call, and whether it has to. `functions` and `call` are what was there before tools. Raises BadInput."""
    if functions is None:
        if call not in (None, "none"):
            raise BadInput("function_call: it needs functions", param="function_call")
        return choose_tools(checked_tools(tools), choice)
    if tools or choice is not None:
        raise BadInput(
            "functions: tools say the same", hint="Give one of them, best tools.", param="functions"
        )
    try:
        known = checked_tools([{"type": "function", "function": each} for each in functions])
        return choose_tools(known, {"function": call} if isinstance(call, dict) else call)
    except BadInput as error:  # in the words that were used
        for ours, theirs in _DEPRECATED.items():
            error.message = error.message.replace(ours, theirs)
            error.param = error.param and error.param.replace(ours, theirs)
        raise


def choose_tools(
    tools: tuple[JsonDict, ...], choice: str | JsonDict | None
) -> tuple[tuple[JsonDict, ...], str | None]:
    """Which tools the model is shown, and whether it has to call one. Raises BadInput."""
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return _allowed(tools, choice.get("allowed_tools"))
    if isinstance(choice, dict):  # the engine knows no named choice: it gets that one tool, and must call it
        name = (
            (choice.get("function") or {}).get("name") if isinstance(choice.get("function"), dict) else None
        )
        chosen = tuple(tool for tool in tools if tool["function"]["name"] == name)
        if not chosen:
            raise BadInput("tool_choice: no tool of that name is among the tools", param="tool_choice")
        return chosen, "required"
    if choice not in (None, "none", "auto", "required"):
        raise BadInput(
            "tool_choice: it takes none, auto, required, or a function's name", param="tool_choice"
        )
    if choice == "required" and not tools:
        raise BadInput("tool_choice: required needs tools", param="tool_choice")
    return ((), None) if choice == "none" else (tools, choice)


def _allowed(tools: tuple[JsonDict, ...], allowed: Any) -> tuple[tuple[JsonDict, ...], str | None]:
    """Those of the tools that may be called. Raises BadInput."""
    named = allowed.get("tools") if isinstance(allowed, dict) else None
    listed = named if isinstance(named, list) else []
    functions = [tool.get("function") for tool in listed if isinstance(tool, dict)]
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    known = [tool["function"]["name"] for tool in tools]
    if not names or any(name not in known for name in names):
        raise BadInput(
            "tool_choice: allowed_tools needs a mode and tools that are among the tools", param="tool_choice"
        )
    chosen = tuple(tool for tool in tools if tool["function"]["name"] in names)
    mode = allowed.get("mode")
    if mode not in ("auto", "required"):
        raise BadInput("tool_choice: the mode of allowed_tools is auto or required", param="tool_choice")
    return chosen, mode
