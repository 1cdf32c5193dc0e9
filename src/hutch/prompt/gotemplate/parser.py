"""A template's text as a tree."""

import re
from collections.abc import Callable
from math import isfinite

from hutch.prompt.gotemplate.functions import FUNCTIONS
from hutch.prompt.gotemplate.lexer import Token, tokens
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
    template_error,
)

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPES |= {letter: letter for letter in "\\'\""}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}
_ENDS = ("else", "end")
_MAX_INTEGER = 1 << 64


def parse(text: str) -> Tree:
    """Read a template. Raises BadInput with the line of what is wrong."""
    parser = _Parser(tokens(text))
    nodes, end = parser.block(0)
    if end is not None:
        raise template_error(end.line, f"unexpected {{{{{end.text}}}}}")
    for include in parser.included:
        if include.name not in parser.defined:
            raise template_error(include.line, f'template "{include.name[:60]}" is not defined')
    return Tree(nodes, parser.defined)


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._variables = ["$"]
        self._num_loops = 0
        self.defined: dict[str, tuple[Node, ...]] = {}
        self.included: list[Include] = []

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.kind != "eof"
        return token

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self, kind: str, what: str) -> Token:
        token = self._next()
        if token.kind != kind:
            raise template_error(token.line, f"unexpected {token.text[:40]!r} in {what}")
        return token

    def block(self, depth: int) -> tuple[tuple[Node, ...], Token | None]:
        """Nodes up to the end of the text, or to an `else` or `end`, which is returned."""
        if depth > MAX_DEPTH:
            raise template_error(self._peek().line, "too deeply nested")
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind == "eof":
                return tuple(nodes), None
            if token.kind == "text":
                nodes.append(Text(token.text))
                continue
            word = self._peek()
            if word.kind == "word" and word.text in _ENDS:
                return tuple(nodes), self._next()
            nodes += self._node(word, depth)

    def _node(self, word: Token, depth: int) -> list[Node]:
        """What an action means; the `{{` before it has been read."""
        if word.kind == "word" and word.text in ("if", "with", "range"):
            self._next()
            return [self._branch(word, depth)]
        if word.kind == "word" and word.text in ("template", "block", "define"):
            self._next()
            return self._named(word, depth)
        if word.kind == "word" and word.text in ("break", "continue"):
            self._next()
            self._take("close", word.text)
            if not self._num_loops:
                raise template_error(word.line, f"{{{{{word.text}}}}} outside {{{{range}}}}")
            return [Jump(word.text)]
        pipe = self._pipe(word.line, "command", depth)
        self._take("close", "command")
        return [Action(pipe)]

    def _branch(self, word: Token, depth: int) -> Branch:
        """A block with its `else` and `end`. Variables that it declares live as long as it does."""
        num_variables = len(self._variables)
        pipe = self._pipe(word.line, word.text, depth)
        self._take("close", word.text)
        self._num_loops += word.text == "range"
        then, end = self.block(depth + 1)
        self._num_loops -= word.text == "range"
        otherwise: tuple[Node, ...] = ()
        if end is not None and end.text == "else":
            inner = self._peek()
            if inner.kind == "word" and inner.text == word.text and word.text != "range":
                self._next()  # `else if`: a branch of its own, with the same end
                otherwise = (self._branch(inner, depth + 1),)
                del self._variables[num_variables:]
                return Branch(word.text, pipe, then, otherwise)
            self._take("close", "else")
            otherwise, end = self.block(depth + 1)
        if end is None or end.text != "end":
            raise template_error(word.line, f"{word.text} without its end")
        self._take("close", "end")
        del self._variables[num_variables:]
        return Branch(word.text, pipe, then, otherwise)

    def _named(self, word: Token, depth: int) -> list[Node]:
        """`template`, `define`, or `block`, which is both."""
        name = _unquoted(self._next(), word.text)
        pipe = None
        if word.text != "define" and self._peek().kind != "close":
            pipe = self._pipe(word.line, word.text, depth)
        self._take("close", word.text)
        include = Include(word.line, name, pipe)
        if word.text == "template":
            self.included.append(include)
            return [include]
        if word.text == "define" and depth:
            raise template_error(word.line, "define inside another block")
        if name in self.defined:
            raise template_error(word.line, f'template "{name[:60]}" is defined twice')
        outer = self._variables, self._num_loops
        self._variables, self._num_loops = ["$"], 0
        self.defined[name], end = self.block(depth + 1)
        self._variables, self._num_loops = outer
        if end is None or end.text != "end":
            raise template_error(word.line, f"{word.text} without its end")
        self._take("close", "end")
        return [include] if word.text == "block" else []

    def _pipe(self, line: int, what: str, depth: int) -> Pipe:
        """A pipeline up to what closes it, which stays unread."""
        names, is_assignment = self._declared(what)
        commands = [self._command(what, depth)]
        while self._peek().text == "|":
            self._next()
            commands.append(self._command(what, depth))
            if isinstance(commands[-1][0], Const | Dot):
                raise template_error(line, "a pipeline goes on with something that is no command")
        if not is_assignment:
            self._variables += names
        return Pipe(line, tuple(commands), names, is_assignment)

    def _declared(self, what: str) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =`, and in a range `$i, $x :=`."""
        names: list[str] = []
        at = self._at
        while self._peek().kind == "variable":
            names.append(self._next().text)
            mark = self._next()
            if mark.text == "," and what == "range" and len(names) == 1:
                continue
            if mark.text not in (":=", "=") or mark.kind != "mark":
                break
            if mark.text == "=":
                for name in names:
                    _check_known(name, self._variables, mark.line)
            return tuple(names), mark.text == "="
        self._at = at
        return (), False

    def _command(self, what: str, depth: int) -> tuple[Argument, ...]:
        arguments: list[Argument] = []
        while (token := self._peek()).kind != "close" and token.text not in ("|", ")"):
            if arguments and not token.is_apart:
                raise template_error(token.line, f"unexpected {token.text[:40]!r} in {what}")
            arguments.append(self._argument(what, depth))
        if not arguments:
            raise template_error(token.line, f"missing value for {what}")
        return tuple(arguments)

    def _argument(self, what: str, depth: int) -> Argument:
        token = self._next()
        argument = self._operand(token, what, depth)
        names = [token.text[1:]] if token.kind == "field" else []
        if token.kind == "dot" and self._peek().kind == "field" and not self._peek().is_apart:
            raise template_error(token.line, "unexpected . before a field")
        while self._peek().kind == "field" and not self._peek().is_apart:
            names.append(self._next().text[1:])
        if names and isinstance(argument, Const):
            raise template_error(token.line, f"a constant has no field {names[0][:40]!r}")
        return Field(argument, tuple(names)) if names else argument

    def _operand(self, token: Token, what: str, depth: int) -> Argument:
        if token.text == "(" and token.kind == "mark":
            if depth > MAX_DEPTH:
                raise template_error(token.line, "too deeply nested")
            inner = self._pipe(token.line, "parentheses", depth + 1)
            if self._next().text != ")":
                raise template_error(token.line, "unclosed left parenthesis")
            return inner
        if token.kind in ("field", "dot"):
            return Dot()
        if token.kind == "variable":
            _check_known(token.text, self._variables, token.line)
            return Variable(token.text)
        if token.kind == "word" and token.text not in _CONSTANTS:
            if token.text not in FUNCTIONS:
                raise template_error(token.line, f'function "{token.text[:60]}" is not defined')
            return Function(token.text)
        return Const(_constant(token, what))


def _check_known(name: str, variables: list[str], line: int) -> None:
    if name not in variables:
        raise template_error(line, f"undefined variable {name[:60]}")


def _constant(token: Token, what: str) -> str | float | bool | None:
    if token.kind == "word":
        return _CONSTANTS[token.text]
    if token.kind in ("string", "raw"):
        return _unquoted(token, what)
    if token.kind == "char":
        text = _unescaped(token)
        if len(text) == 1:
            return ord(text)
    if token.kind == "number":
        return _number(token)
    raise template_error(token.line, f"unexpected {token.text[:40]!r} in {what}")


def _number(token: Token) -> float:
    text = token.text
    readings: tuple[Callable[[str], float], ...] = (lambda text: int(text, 0), float)
    if text.lstrip("+-").isdecimal() and text.lstrip("+-") != text.lstrip("+-0"):
        readings = (lambda text: int(text, 8), float)  # 017, as in C
    for read in readings:
        try:
            value = read(text)
        except ValueError:
            continue
        if isfinite(value) if isinstance(value, float) else abs(value) < _MAX_INTEGER:
            return value
        break
    raise template_error(token.line, f"bad number {text[:40]}")


def _unquoted(token: Token, what: str) -> str:
    if token.kind == "raw":
        return token.text[1:-1]
    if token.kind != "string":
        raise template_error(token.line, f"unexpected {token.text[:40]!r} in {what}")
    return _unescaped(token)


def _unescaped(token: Token) -> str:
    def meant(match: re.Match[str]) -> str:
        code = match[1]
        if code in _ESCAPES:
            return _ESCAPES[code]
        try:
            return chr(int(code, 8) if code.isdigit() else int(code[1:], 16)).encode().decode()
        except ValueError:
            raise template_error(token.line, f"unknown escape \\{code[:10]}") from None

    return _ESCAPE.sub(meant, token.text[1:-1])
