"""A tree evaluated over data. It cannot run long, and cannot make much: a budget is spent step by step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hutch.core.errors import BadInput
from hutch.prompt.gotemplate.functions import FUNCTIONS, Value
from hutch.prompt.gotemplate.nodes import (
    MAX_DEPTH,
    Action,
    Argument,
    Branch,
    Const,
    Dot,
    Field,
    Function,
    Include,
    Jump,
    Node,
    Pipe,
    Text,
    Tree,
    Variable,
    fields,
    template_error,
)
from hutch.prompt.gotemplate.values import Record, is_list, truth, written

_MISSING = object()


class _Break(Exception):  # a jump, no error
    """`break`."""


class _Continue(Exception):
    """`continue`."""


class _Stop(Exception):
    """The place where evaluation was to stop is reached."""


@dataclass(slots=True)
class Budget:
    """The most that may still be done, and made. Several evaluations may share one."""

    steps: int
    chars: int

    def spend(self, steps: int, line: int) -> None:
        """Do something. Raises BadInput where that is too much."""
        self.steps -= steps
        if self.steps < 0:
            raise template_error(line, "it takes too long")

    def make(self, num_chars: int, line: int) -> None:
        """Make a text of this length. Raises BadInput where that is too much."""
        self.chars -= num_chars
        if self.chars < 0:
            raise template_error(line, "it makes too much text")


def evaluate(tree: Tree, data: Mapping[str, Value], budget: Budget, *, stop_after: str = "") -> str:
    """The text that a template makes of `data`. With `stop_after`: up to the action that writes that field.

    Raises BadInput with the line of what cannot be done.
    """
    evaluation = _Evaluation(tree, data, budget, stop_after)
    try:
        evaluation.walk(tree.nodes, data)
    except _Stop:
        pass
    except RecursionError:
        raise BadInput("template error: what it handles is too deeply nested") from None
    return "".join(evaluation.pieces)


class _Evaluation:
    def __init__(self, tree: Tree, data: Mapping[str, Value], budget: Budget, stop_after: str) -> None:
        self.pieces: list[str] = []
        self._tree = tree
        self._budget = budget
        self._stop_after = stop_after
        self._line = 1
        self._depth = 0
        self._variables: list[tuple[str, Value]] = [("$", data)]

    def walk(self, nodes: Sequence[Node], dot: Value) -> None:
        """Write what these nodes say."""
        self._depth += 1
        if self._depth > MAX_DEPTH * 2:
            raise template_error(self._line, "too deeply nested")
        for node in nodes:
            self._budget.spend(1, self._line)
            match node:
                case Text():
                    self._write(node.text)
                case Action():
                    value = self._pipe(node.pipe, dot)
                    if not node.pipe.names:
                        self._write(written(value))
                    if self._stop_after and self._stop_after in fields(node):
                        raise _Stop
                case Branch():
                    num_variables = len(self._variables)
                    self._branch(node, dot)
                    del self._variables[num_variables:]
                case Include():
                    self._include(node, dot)
                case Jump():
                    raise _Break if node.kind == "break" else _Continue
        self._depth -= 1

    def _write(self, text: str) -> None:
        self._budget.make(len(text), self._line)
        self.pieces.append(text)

    def _branch(self, node: Branch, dot: Value) -> None:
        if node.kind == "range":
            self._range(node, dot)
            return
        value = self._pipe(node.pipe, dot)
        if truth(value):
            self.walk(node.then, value if node.kind == "with" else dot)
        else:
            self.walk(node.otherwise, dot)

    def _range(self, node: Branch, dot: Value) -> None:
        value = self._pipe(node.pipe, dot, is_range=True)
        is_empty = True
        depth, num_variables = self._depth, len(self._variables)
        names = node.pipe.names
        for key, item in self._items(value):
            is_empty = False
            self._budget.spend(1, self._line)
            if names:
                given = (item,) if len(names) == 1 else (key, item)
                self._bind(names, given, is_assignment=node.pipe.is_assignment)
            try:
                self.walk(node.then, item)
            except _Break:
                break
            except _Continue:
                continue
            finally:
                self._depth = depth
                del self._variables[num_variables:]
        if is_empty:
            self.walk(node.otherwise, dot)

    def _items(self, value: Value) -> Iterable[tuple[Value, Value]]:
        """What a range goes through: a list's items, a map's by sorted keys, or the numbers below one."""
        if value is None:
            return ()
        if isinstance(value, Mapping) and not isinstance(value, Record):
            self._budget.spend(len(value), self._line)
            return sorted(value.items())
        if is_list(value):
            return enumerate(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return ((number, number) for number in range(value))
        raise template_error(self._line, "range goes over lists, maps and whole numbers alone")

    def _include(self, node: Include, dot: Value) -> None:
        value = self._pipe(node.pipe, dot) if node.pipe else None
        outer, self._variables = self._variables, [("$", value)]
        self.walk(self._tree.defined[node.name], value)
        self._variables = outer

    def _bind(self, names: Sequence[str], values: Sequence[Value], *, is_assignment: bool) -> None:
        for name, value in zip(names, values, strict=True):
            if not is_assignment:
                self._variables.append((name, value))
                continue
            for index in range(len(self._variables) - 1, -1, -1):
                if self._variables[index][0] == name:
                    self._variables[index] = (name, value)
                    break

    def _pipe(self, pipe: Pipe, dot: Value, *, is_range: bool = False) -> Value:
        self._line = pipe.line
        value: Value = _MISSING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        if pipe.names and not is_range:
            self._bind(pipe.names, (value,), is_assignment=pipe.is_assignment)
        return value

    def _command(self, command: Sequence[Argument], dot: Value, last: Value) -> Value:
        self._budget.spend(len(command), self._line)
        first = command[0]
        if not isinstance(first, Function):
            if len(command) > 1 or last is not _MISSING:
                raise template_error(self._line, "arguments are given to something that is no function")
            return self._value(first, dot)
        arguments = command[1:]
        if first.name in ("and", "or"):  # the rest is not looked at once it is decided
            for argument in arguments:
                value = self._value(argument, dot)
                if truth(value) is (first.name == "or"):
                    return value
            if last is not _MISSING or not arguments:
                return self._call(first.name, [] if last is _MISSING else [last])
            return value
        values = [self._value(argument, dot) for argument in arguments]
        return self._call(first.name, values if last is _MISSING else [*values, last])

    def _call(self, name: str, values: list[Value]) -> Value:
        self._budget.spend(sum(len(value) for value in values if isinstance(value, str)) >> 8, self._line)
        try:
            result = FUNCTIONS[name](*values)
        except (ValueError, TypeError, IndexError) as error:
            why = str(error) if type(error) is ValueError else "it is given the wrong number of values"
            raise template_error(self._line, f"{name}: {why}") from None
        if isinstance(result, str):
            self._budget.make(len(result), self._line)
        elif is_list(result):
            self._budget.spend(len(result) >> 6, self._line)
        return result

    def _value(self, argument: Argument, dot: Value) -> Value:
        match argument:
            case Dot():
                return dot
            case Const():
                return argument.value
            case Variable():
                return next(value for name, value in reversed(self._variables) if name == argument.name)
            case Pipe():
                return self._pipe(argument, dot)
            case Function():
                return self._call(argument.name, [])
            case Field():
                value = self._value(argument.of, dot)
                for name in argument.names:
                    value = self._field(value, name)
                return value

    def _field(self, value: Any, name: str) -> Value:
        """A field of a struct or a map. What a map or nil does not have is nil."""
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise template_error(self._line, f".{name[:60]} is looked up in something that has no fields")
        if isinstance(value, Record) and name not in value:
            raise template_error(self._line, f"there is no field .{name[:60]} here")
        return value.get(name)
