"""A template's text as tokens."""

import re
from typing import NamedTuple

from hutch.prompt.gotemplate.nodes import template_error

_SPACE = " \t\r\n"
_TOKEN = re.compile(
    r"""
      (?P<space>  [ \t\r\n]+ )
    | (?P<string> "(?:[^"\\\n]|\\[^\n])*" )
    | (?P<raw>    `[^`]*` )
    | (?P<char>   '(?:[^'\\\n]|\\[^\n])+' )
    | (?P<number> [+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
                        |(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?) )
    | (?P<field>  \.[^\W\d]\w* )
    | (?P<dot>    \. )
    | (?P<variable> \$\w* )
    | (?P<word>   [^\W\d]\w* )
    | (?P<mark>   :=|[=|(),] )
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of a template. `is_apart`: there is space before it. Kinds are those of `_TOKEN`, text, open, close, eof."""

    kind: str
    text: str
    line: int
    is_apart: bool = False


def tokens(text: str) -> list[Token]:
    """All tokens. Raises BadInput with the line of what is none."""
    found: list[Token] = []
    at, line, trim = 0, 1, False
    while (start := text.find("{{", at)) >= 0:
        before = text[at:start]
        written = before.lstrip(_SPACE) if trim else before
        line += before.count("\n")
        begin = start + 2
        if text[begin : begin + 1] == "-" and text[begin + 1 : begin + 2] in tuple(_SPACE):
            begin += 2
            written = written.rstrip(_SPACE)
        if written:
            found.append(Token("text", written, line))
        first = begin + _spaces(text, begin)
        if text.startswith("/*", first):
            at, trim = _after_comment(text, first, line)
        else:
            at, trim = _action(text, begin, line, found)
        line += text.count("\n", start, at)
    rest = text[at:].lstrip(_SPACE) if trim else text[at:]
    if rest:
        found.append(Token("text", rest, line))
    return [*found, Token("eof", "", line)]


def _spaces(text: str, at: int) -> int:
    end = at
    while end < len(text) and text[end] in _SPACE:
        end += 1
    return end - at


def _after_comment(text: str, at: int, line: int) -> tuple[int, bool]:
    """Where the text goes on after a comment, and whether it is trimmed there."""
    end = text.find("*/", at + 2)
    if end < 0:
        raise template_error(line, "unclosed comment")
    end += 2
    gap = _spaces(text, end)
    if gap and text.startswith("-}}", end + gap):
        return end + gap + 3, True
    if text.startswith("}}", end + gap):
        return end + gap + 2, False
    raise template_error(line, "a comment ends before its closing delimiter")


def _action(text: str, at: int, line: int, found: list[Token]) -> tuple[int, bool]:
    """Add the tokens of one action; where the text goes on after it, and whether it is trimmed there."""
    found.append(Token("open", "{{", line))
    is_apart = False
    while at < len(text):
        if is_apart and text.startswith("-}}", at):
            found.append(Token("close", "-}}", line))
            return at + 3, True
        if text.startswith("}}", at):
            found.append(Token("close", "}}", line))
            return at + 2, False
        match = _TOKEN.match(text, at)
        if match is None:
            what = "unterminated quoted text" if text[at] in "\"`'" else f"unexpected {text[at]!r}"
            raise template_error(line, f"{what} in an action")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match.group(), line, is_apart))
        is_apart = kind == "space"
        line += match.group().count("\n")
        at = match.end()
    raise template_error(line, "unclosed action")
