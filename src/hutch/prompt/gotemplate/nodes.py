"""The tree of a template, and what goes wrong with one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hutch.core.errors import BadInput

MAX_DEPTH = 48  # of blocks and parentheses; each level takes a few frames of Python's stack


def template_error(line: int, what: str) -> BadInput:
    """An error that names the template's line."""
    return BadInput(
        f"template error: line {line}: {what[:160]}",
        hint="A TEMPLATE is written in Go's text/template language. "
        "Leave TEMPLATE out to use the template inside the model file.",
    )


@dataclass(frozen=True, slots=True)
class Text:
    """Text that stands as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`"""


@dataclass(frozen=True, slots=True)
class Const:
    """A string, a number, true, false or nil."""

    value: str | float | bool | None


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B`, `$x.A` or `(…).A`: names looked up one in another, beginning with `of`."""

    of: "Argument"
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$` or `$name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each of which gets the value of the one before it. `names`: the variables that get the last value."""

    line: int
    commands: tuple[tuple["Argument", ...], ...]
    names: tuple[str, ...] = ()
    is_assignment: bool = False  # `=` and not `:=`


Argument = Dot | Const | Function | Field | Variable | Pipe


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is written."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`."""

    kind: str
    pipe: Pipe
    then: tuple["Node", ...]
    otherwise: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True)
class Include:
    """`template "name" pipeline`."""

    line: int
    name: str
    pipe: Pipe | None


@dataclass(frozen=True, slots=True)
class Jump:
    """`break` or `continue`."""

    kind: str


Node = Text | Action | Branch | Include | Jump


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed template, with those that it defines."""

    nodes: tuple[Node, ...]
    defined: Mapping[str, tuple[Node, ...]]


def fields(node: Node | Argument) -> Iterator[str]:
    """The names of all fields that this and everything in it looks up."""
    match node:
        case Field():
            yield from node.names
            yield from fields(node.of)
        case Pipe():
            for command in node.commands:
                for argument in command:
                    yield from fields(argument)
        case Action():
            yield from fields(node.pipe)
        case Include(pipe=Pipe() as pipe):
            yield from fields(pipe)
        case Branch():
            yield from fields(node.pipe)
            for inner in (*node.then, *node.otherwise):
                yield from fields(inner)
        case _:
            return
