"""Modelfile TEMPLATEs: the part of Go's text/template that Hutch renders itself.

That part is `.System`, `.Prompt`, `.Response` and `if … else … end` on one of them, with `{{-` and `-}}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hutch.core.chat import Message
from hutch.core.errors import BadInput

_VARIABLES = ("System", "Prompt", "Response")
MAX_TEMPLATE_CHARS = 1 << 16
MAX_PROMPT_CHARS = 16 << 20


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str


@dataclass(frozen=True, slots=True)
class _If:
    name: str
    then: tuple["_Node", ...]
    otherwise: tuple["_Node", ...]


_Node = _Text | _Variable | _If


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. Make one with `parse`."""

    nodes: tuple[_Node, ...]

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for these messages: each round in full, the last up to where the answer begins."""
        rounds = _rounds(messages)
        written: list[str] = []
        for turn in rounds[:-1]:
            written += _write(self.nodes, turn)
        written += _until_response(self.nodes, rounds[-1])[0]
        if (
            sum(map(len, written)) > MAX_PROMPT_CHARS
        ):  # before they are joined: a template may repeat a long prompt
            raise BadInput(f"the template makes a prompt of more than {MAX_PROMPT_CHARS} characters")
        return "".join(written)


def parse(text: str) -> Template:
    """Read a template. Raises BadInput with the line of what this part of the language does not have."""
    if len(text) > MAX_TEMPLATE_CHARS:
        raise BadInput(f"template error: longer than {MAX_TEMPLATE_CHARS} characters")
    nodes, rest = _parse_block(_tokens(text), 0, depth=0)
    if rest is not None:
        raise _error(rest[1], f"unexpected {{{{{rest[0]}}}}}")
    if not _mentions_response(nodes):
        nodes = (*nodes, _Variable("Response"))
    return Template(nodes)


_Token = tuple[str, str, int]  # kind (text or action), content, line


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, line = 0, 1
    trim = False
    while (start := text.find("{{", at)) >= 0:
        before = text[at:start]
        line += before.count("\n")
        end = text.find("}}", start + 2)
        if end < 0:
            raise _error(line, "unclosed action")
        action = text[start + 2 : end]
        before = before.lstrip() if trim else before
        opens_trimming = action[:1] == "-" and action[1:2].isspace()
        trim = action[-1:] == "-" and action[-2:-1].isspace()
        tokens.append(("text", before.rstrip() if opens_trimming else before, 0))
        content = action[1:] if opens_trimming else action
        content = content[:-1] if trim else content
        tokens.append(("action", content.strip(), line))
        line += action.count("\n")
        at = end + 2
    return [*tokens, ("text", text[at:].lstrip() if trim else text[at:], 0)]


def _parse_block(
    tokens: list[_Token], at: int, depth: int
) -> tuple[tuple[_Node, ...], tuple[str, int, int] | None]:
    """Nodes up to an `else` or `end` that belongs to an outer `if`, with that action, its line and place."""
    nodes: list[_Node] = []
    while at < len(tokens):
        kind, content, line = tokens[at]
        at += 1
        if kind == "text":
            if content:
                nodes.append(_Text(content))
        elif content.startswith("/*") and content.endswith("*/"):
            continue
        elif content in ("else", "end"):
            return tuple(nodes), (content, line, at)
        elif content.startswith("if "):
            node, at = _parse_if(tokens, at, content, depth + 1)
            nodes.append(node)
        else:
            nodes.append(_Variable(_variable(content, line)))
    return tuple(nodes), None


def _parse_if(tokens: list[_Token], at: int, action: str, depth: int) -> tuple[_If, int]:
    line = tokens[at - 1][2]
    if depth > 32:
        raise _error(line, "too deeply nested")
    name = _variable(action[3:].strip(), line)
    then, end = _parse_block(tokens, at, depth)
    otherwise: tuple[_Node, ...] = ()
    if end is not None and end[0] == "else":
        otherwise, end = _parse_block(tokens, end[2], depth)
    if end is None or end[0] != "end":
        raise _error(line, "an if without its end")
    return _If(name, then, otherwise), end[2]


def _variable(text: str, line: int) -> str:
    name = text.removeprefix(".")
    if not text.startswith(".") or name not in _VARIABLES:
        raise _error(line, f"{{{{ {text[:60]} }}}} is not supported")
    return name


def _error(line: int, what: str) -> BadInput:
    return BadInput(
        f"template error: line {line}: {what}",
        hint="Hutch's templates know .System, .Prompt, .Response and if … else … end. "
        "Leave TEMPLATE out to use the template inside the model file.",
    )


def _mentions_response(nodes: Sequence[_Node]) -> bool:
    return any(
        node.name == "Response"
        if isinstance(node, _Variable)
        else _mentions_response(node.then + node.otherwise)
        for node in nodes
        if not isinstance(node, _Text)
    )


def _rounds(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as rounds of System, Prompt, Response; neighbours of one role are joined."""
    rounds: list[dict[str, list[str]]] = [{}]
    order = {"system": "System", "user": "Prompt", "tool": "Prompt", "assistant": "Response"}
    for message in messages:
        name = order.get(message.role)
        if name is None:
            raise BadInput(f"a template has no place for a message of role {message.role[:60]!r}")
        turn = rounds[-1]
        later = _VARIABLES[_VARIABLES.index(name) + 1 :]
        if any(turn.get(other) for other in later):
            turn = {}
            rounds.append(turn)
        if message.content:
            turn.setdefault(name, []).append(message.content)
    return [{name: "\n\n".join(parts) for name, parts in turn.items()} for turn in rounds]


def _write(nodes: Sequence[_Node], turn: dict[str, str]) -> list[str]:
    written: list[str] = []
    for node in nodes:
        if isinstance(node, _Text):
            written.append(node.text)
        elif isinstance(node, _Variable):
            written.append(turn.get(node.name, ""))
        else:
            written += _write(node.then if turn.get(node.name) else node.otherwise, turn)
    return written


def _until_response(nodes: Sequence[_Node], turn: dict[str, str]) -> tuple[list[str], bool]:
    """The open round, and whether it has an answer's place: what stands after that waits for the answer."""
    written: list[str] = []
    for node in nodes:
        if isinstance(node, _Variable) and node.name == "Response":
            return [*written, turn.get("Response", "")], True
        if isinstance(node, _If):
            is_taken = node.name == "Response" or bool(turn.get(node.name))
            inside, is_reached = _until_response(node.then if is_taken else node.otherwise, turn)
            written += inside
            if is_reached or node.name == "Response":
                return written, True
        else:
            written += _write((node,), turn)
    return written, False
