"""Calls of tools that a model writes as Python: `get_weather(city="Bern")`, alone, in a list or inside `print(…)`."""

import ast
import json
import re
import warnings
from collections.abc import Set as AbstractSet

_MAX_CHARS = 1 << 15
# Each repetition is bounded and gives nothing back: this is looked for anew with each piece of an answer.
_BEFORE = r"[\s,\[]{0,256}+(?:\w{1,64}+\s{0,16}+=\s{0,16}+)?+"
_BEGINS = re.compile(rf"{_BEFORE}(?=([A-Za-z_][\w.]{{0,127}}+)\()")
_OUTSIDE = re.compile(r"\"\"\"|\'\'\'|[\"\'()]")
_INSIDE = {quote: re.compile(rf"\\.|{quote}", re.DOTALL) for quote in ('"', "'", '"""', "'''")}


class PythonCalls:
    """Finds calls of `tools` in a text that grows. Each character is looked at once, and each call parsed once."""

    def __init__(self, tools: AbstractSet[str]) -> None:
        self._tools = tools
        self._is_over = False  # what stands there is no call, and will be none
        self._forget()

    def find(self, text: str, start: int = 0) -> tuple[int, str, str] | None:
        """The call that begins there: where it ends, its name, and its arguments as JSON. None where none is whole.

        The next text begins as the last one did, or behind the call that was found. Arguments are literals with names: what a
        position means, only the tool's author knows.
        """
        begins = None if self._is_over else _BEGINS.match(text, start)
        if begins is None:
            return None
        self._is_over = begins[1] != "print" and _known(begins[1], self._tools) not in self._tools
        end = None if self._is_over else self._end(text, begins.end(1))
        if end is None:
            self._is_over = self._is_over or len(text) - begins.end() > _MAX_CHARS
            return None
        found = _parsed(text[begins.end() : end], self._tools)
        if found is None:
            self._is_over = True
            return None
        self._forget()
        return (end, *found)

    def _forget(self) -> None:
        self._at = 0  # how far the text is looked through
        self._depth = 0
        self._quote = ""  # of the string that is open

    def _end(self, text: str, begin: int) -> int | None:
        """Where the parenthesis that opens at `begin` is closed."""
        self._at = max(self._at, begin)
        while match := (_INSIDE[self._quote] if self._quote else _OUTSIDE).search(text, self._at):
            mark = match[0]
            if self._quote:
                self._quote = "" if mark == self._quote else self._quote
            elif mark in "()":
                self._depth += 1 if mark == "(" else -1
            elif match.start() + 3 > len(text):
                self._at = match.start()
                return None  # it may become three quotation marks
            else:
                self._quote = mark
            self._at = match.end()
            if not self._depth:
                return self._at
        self._at = max(self._at, len(text) - len(self._quote))  # of a mark, a part may be there
        return None


def begins_python(text: str, start: int = 0) -> bool:
    """Whether a call in Python begins there, be it whole or not."""
    return _BEGINS.match(text, start) is not None


def _parsed(code: str, tools: AbstractSet[str]) -> tuple[str, str] | None:
    if len(code) > _MAX_CHARS:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # a bad escape in a string is not ours to mend
            return _call(ast.parse(code, mode="eval").body, tools)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _known(name: str, tools: AbstractSet[str]) -> str:
    """The tool that is meant, as in `search.call(…)`."""
    return name if name in tools else name.partition(".")[0]


def _call(tree: ast.expr, tools: AbstractSet[str]) -> tuple[str, str] | None:
    if not isinstance(tree, ast.Call):
        return None
    name = ast.unparse(tree.func)
    if name == "print" and len(tree.args) == 1:
        return _call(tree.args[0], tools)
    name = _known(name, tools)
    if name not in tools or tree.args:
        return None
    try:
        arguments = {each.arg: ast.literal_eval(each.value) for each in tree.keywords if each.arg}
        return name, json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return None
