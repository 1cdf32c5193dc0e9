"""Modelfile TEMPLATEs: Go's text/template with Ollama's variables and rules.

A template that uses `.Messages` writes the whole conversation. Any other is written once for each round of
`.System`, `.Prompt` and `.Response`, and in the last round up to the place of the answer. With `.Suffix` it fills in
the middle.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hutch.core.chat import JsonObject, Message
from hutch.core.errors import BadInput
from hutch.prompt.gotemplate.evaluate import Budget, evaluate
from hutch.prompt.gotemplate.nodes import Action, Branch, Dot, Field, Node, Pipe, Text, Tree, fields
from hutch.prompt.gotemplate.parser import parse as parse_tree
from hutch.prompt.gotemplate.values import Record

_ROUND = ("System", "Prompt", "Response")
_ORDER = {"system": "System", "user": "Prompt", "tool": "Prompt", "assistant": "Response"}
MAX_TEMPLATE_CHARS = 1 << 16
MAX_PROMPT_CHARS = 16 << 20
_STEPS, _STEPS_A_MESSAGE = 200_000, 200
_RESPONSE = Action(Pipe(0, ((Field(Dot(), ("Response",)),),)))


class _Open(str):
    """The answer's beginning, in the round that is to be answered. It counts as true also while it is empty."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """It is there."""
        return True


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. Make one with `parse`. `names`: the fields that it looks up."""

    tree: Tree
    names: frozenset[str]
    thinking_tags: tuple[str, str]
    tool_marker: str

    @property
    def has_tools(self) -> bool:
        """Whether it tells the model about tools."""
        return "Tools" in self.names

    @property
    def has_suffix(self) -> bool:
        """Whether it can ask for what stands between two texts."""
        return "Suffix" in self.names

    @property
    def has_thinking(self) -> bool:
        """Whether it writes thoughts, between tags by which they are told apart."""
        return all(self.thinking_tags)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[JsonObject] = (),
        think: bool | str | None = None,
    ) -> str:
        """The prompt for these messages, up to where the answer begins. Raises BadInput."""
        for message in messages:
            if message.role not in _ORDER:
                raise BadInput(f"a template has no place for a message of role {message.role[:60]!r}")
        said = {
            "Think": bool(think),
            "ThinkLevel": think if isinstance(think, str) else "",
            "IsThinkSet": think is not None,
        }
        budget = Budget(_STEPS + _STEPS_A_MESSAGE * len(messages), MAX_PROMPT_CHARS)
        if "Messages" in self.names:
            system = "\n\n".join(message.content for message in messages if message.role == "system")
            data = said | {
                "System": system,
                "Messages": [_message(message) for message in _collated(messages)],
                "Tools": tuple(_tool(tool) for tool in tools),
                "Response": "",
            }
            return evaluate(self.tree, data, budget)
        *before, last = _rounds(messages)
        written = [evaluate(self.tree, said | turn, budget) for turn in before]
        last["Response"] = _Open(last["Response"])
        written.append(evaluate(self.tree, said | last, budget, stop_after="Response"))
        return "".join(written)

    def fill(self, prompt: str, suffix: str) -> str:
        """The prompt that asks for what stands between `prompt` and `suffix`. Raises BadInput."""
        data = {"Prompt": prompt, "Suffix": suffix, "Response": ""}
        return evaluate(self.tree, data, Budget(_STEPS, MAX_PROMPT_CHARS))


def parse(text: str) -> Template:
    """Read a template. Raises BadInput with the line of what is wrong."""
    if len(text) > MAX_TEMPLATE_CHARS:
        raise BadInput(f"template error: longer than {MAX_TEMPLATE_CHARS} characters")
    tree = parse_tree(text)
    everything = (*tree.nodes, *(node for nodes in tree.defined.values() for node in nodes))
    names = frozenset(name for node in everything for name in fields(node))
    if not names & {"Messages", "Response"}:
        tree = replace(tree, nodes=(*tree.nodes, _RESPONSE))
    return Template(tree, names, _thinking_tags(tree), _tool_marker(tree))


def _thinking_tags(tree: Tree) -> tuple[str, str]:
    """What stands before and after `.Thinking` where messages are written; empty where it is not."""
    found = ("", "")
    for _, nodes in _lists(tree.nodes, ranges_messages=False):
        writes = any(isinstance(node, Action) and "Thinking" in fields(node) for node in nodes)
        if writes and isinstance(nodes[0], Text) and isinstance(nodes[-1], Text):
            found = (nodes[0].text.strip(), nodes[-1].text.strip())
    return found


def _tool_marker(tree: Tree) -> str:
    """What a call of a tool begins with: the first text where `.ToolCalls` are written, else `{`."""
    for branch, nodes in _lists(tree.nodes, ranges_messages=True):
        if branch is not None and "ToolCalls" in fields(branch.pipe):
            text = _first_text(nodes) or ""
            return text.partition("{")[0].strip() or "{"
    return "{"


def _lists(nodes: Sequence[Node], *, ranges_messages: bool, branch: Branch | None = None) -> Any:
    """Every list of nodes with the branch that it belongs to, inside a range over messages where that matters."""
    if ranges_messages:
        yield branch, nodes
    for node in nodes:
        if isinstance(node, Branch):
            inside = ranges_messages or (node.kind == "range" and "Messages" in fields(node.pipe))
            for inner in (node.then, node.otherwise):
                if inner:
                    yield from _lists(inner, ranges_messages=inside, branch=node)


def _first_text(nodes: Sequence[Node]) -> str | None:
    """The first text that is more than space, up to the first value that is written."""
    for node in nodes:
        if isinstance(node, Text) and node.text.strip():
            return node.text
        if isinstance(node, Branch):
            return _first_text(node.then) or _first_text(node.otherwise)
        if isinstance(node, Action) and not node.pipe.names:
            return None
    return None


def _collated(messages: Sequence[Message]) -> list[Message]:
    """The messages, with neighbours of one role joined; those of tools, and calls of tools, stay apart."""
    joined: list[Message] = []
    for message in messages:
        before = joined[-1] if joined else None
        if (
            before is not None
            and before.role == message.role != "tool"
            and not (before.tool_calls or message.tool_calls or message.thinking)
        ):
            content = "\n\n".join(text for text in (before.content, message.content) if text)
            joined[-1] = replace(before, content=content, images=before.images + message.images)
        else:
            joined.append(message)
    return joined


def _message(message: Message) -> Record:
    return Record(
        {
            "Role": message.role,
            "Content": message.content,
            "Thinking": message.thinking,
            "Images": tuple(range(len(message.images))),  # to be counted; they stand in the content already
            "ToolCalls": tuple(
                Record(
                    {
                        "ID": call.id,
                        "Function": Record(
                            {
                                "Index": call.index,
                                "Name": call.name,
                                "Arguments": _arguments(call.arguments),
                            }
                        ),
                    },
                    {"function": {"name": call.name, "arguments": _arguments(call.arguments)}},
                )
                for call in message.tool_calls
            ),
            "ToolName": message.tool_name,
            "ToolCallID": message.tool_call_id,
        }
    )


def _arguments(text: str) -> Any:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _tool(tool: JsonObject) -> Record:
    """A tool by Ollama's field names. As a text it is the JSON that the client sent, whole."""
    function = tool.get("function") or {}
    parameters = function.get("parameters") or {}
    described = Record(
        {
            "Type": parameters.get("type", ""),
            "Defs": parameters.get("$defs"),
            "Items": parameters.get("items"),
            "Required": tuple(_a_list(parameters.get("required"))),
            "Properties": _properties(parameters.get("properties")),
        },
        parameters,
    )
    called = Record(
        {
            "Name": function.get("name", ""),
            "Description": function.get("description") or "",
            "Parameters": described,
        },
        function,
    )
    whole = {"type": "function", **tool}
    return Record({"Type": whole["type"], "Items": tool.get("items"), "Function": called}, whole)


def _properties(value: Any) -> dict[str, Record]:
    found = value if isinstance(value, Mapping) else {}
    return {str(name): _property(schema) for name, schema in found.items()}


def _property(schema: Any) -> Record:
    said = schema if isinstance(schema, Mapping) else {}
    return Record(
        {
            "Type": said.get("type", ""),
            "Items": said.get("items"),
            "Description": said.get("description") or "",
            "Enum": tuple(_a_list(said.get("enum"))),
            "AnyOf": tuple(_property(option) for option in _a_list(said.get("anyOf"))),
            "Properties": _properties(said.get("properties")),
            "Required": tuple(_a_list(said.get("required"))),
        },
        schema,
    )


def _a_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _rounds(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as rounds of System, Prompt, Response; neighbours of one role are joined."""
    rounds: list[dict[str, list[str]]] = [{}]
    for message in messages:
        name = _ORDER[message.role]
        turn = rounds[-1]
        later = _ROUND[_ROUND.index(name) + 1 :]
        if any(turn.get(other) for other in later):
            turn = {}
            rounds.append(turn)
        if message.content:
            turn.setdefault(name, []).append(message.content)
    return [{name: "\n\n".join(turn.get(name, ())) for name in _ROUND} for turn in rounds]
