"""Chat templates in Jinja that are plain enough to be rendered here, where that costs least.

A template comes with a file from anywhere, so only those are rendered that cannot run long or grow large: one pass over
the messages, no assignments, no calls, no macros, nothing that is multiplied. The engine renders the others, in its own process.
"""

from collections.abc import Sequence

from jinja2 import TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hutch.core.chat import Message
from hutch.core.errors import BadInput

_MAX_TEMPLATE_CHARS = 8192
_MAX_RENDERED_CHARS = 16 << 20
_VARIABLES = frozenset({"messages", "add_generation_prompt", "loop"})
_FIELDS = frozenset({"role", "content", "first", "last", "index", "index0"})
_FILTERS = frozenset({"trim", "lower", "upper", "length"})
_HARMLESS = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Const),
    *(nodes.Getitem, nodes.Slice, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Add, nodes.Sub, nodes.Concat),
)
_environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


class ChatTemplate:
    """A template that `plain` has let through. `num_names`: how often it names a variable."""

    def __init__(self, source: str, num_names: int) -> None:
        self._compiled = _environment.from_string(source)
        self._num_names = num_names

    def can_render(self, messages: Sequence[Message]) -> bool:
        """Whether this says all that there is: texts of no great length, and no answer that has been begun."""
        return (
            bool(messages)
            and messages[-1].role != "assistant"
            and not any(m.thinking or m.tool_calls or m.tool_call_id or m.tool_name for m in messages)
            and self._num_names * sum(len(m.content) for m in messages) <= _MAX_RENDERED_CHARS
        )

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for this conversation, up to where the answer begins. Raises BadInput."""
        pieces: list[str] = []
        size = 0
        said = [{"role": message.role, "content": message.content} for message in messages]
        try:
            for piece in self._compiled.generate(messages=said, add_generation_prompt=True):
                pieces.append(piece)
                size += len(piece)
                if size > _MAX_RENDERED_CHARS:
                    raise BadInput(
                        f"the chat template makes a prompt of more than {_MAX_RENDERED_CHARS} characters"
                    )
        except (TemplateError, TypeError) as error:
            raise BadInput(f"the chat template cannot render these messages: {error}") from error
        return "".join(pieces)


def plain(source: str) -> ChatTemplate | None:
    """The template, if it is plain; None where the engine has to render it."""
    if not source or len(source) > _MAX_TEMPLATE_CHARS:
        return None
    try:
        tree = _environment.parse(source)
        if not _is_plain(tree, _VARIABLES):
            return None
        return ChatTemplate(source, sum(1 for _ in tree.find_all(nodes.Name)))
    except (TemplateError, SyntaxError, RecursionError):
        return None


def _is_plain(node: nodes.Node, names: frozenset[str]) -> bool:
    """Whether all of this is harmless. `names` are the variables that there are."""
    match node:
        case nodes.For():
            target = node.target
            if not isinstance(target, nodes.Name) or node.recursive or not _is_messages(node.iter):
                return False
            if names > _VARIABLES:  # a loop in a loop
                return False
            names |= {target.name}
            is_fine = True
        case nodes.Name():
            is_fine = node.name in names
        case nodes.Getattr():
            is_fine = node.attr in _FIELDS
        case nodes.Filter():
            is_fine = node.name in _FILTERS and not (
                node.args or node.kwargs or node.dyn_args or node.dyn_kwargs
            )
        case _:
            is_fine = isinstance(node, _HARMLESS)
    return is_fine and all(_is_plain(child, names) for child in node.iter_child_nodes())


def _is_messages(node: nodes.Node) -> bool:
    """Whether this is `messages` or a slice of them."""
    inner = node.node if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice) else node
    return isinstance(inner, nodes.Name) and inner.name == "messages"
