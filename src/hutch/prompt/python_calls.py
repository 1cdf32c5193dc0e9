"""Calls of tools that a model writes as Python: `get_weather(city="Bern")`, alone, in a list or inside `print(…)`."""

import ast
import json
import re
import warnings
from collections.abc import Set as AbstractSet

_MAX_CHARS = 1 << 15
_BEFORE = r"[\s,\[]*(?:\w+\s*=\s*)?"
_BEGINS = re.compile(rf"{_BEFORE}(?=[A-Za-z_][\w.]*\()")


def python_call(text: str, tools: AbstractSet[str], start: int = 0) -> tuple[int, str, str] | None:
    """The call of a tool that begins there: where it ends, its name, and its arguments as JSON. None where none is whole.

    Arguments are literals with names: what a position means, only the tool's author knows.
    """
    begins = _BEGINS.match(text, start)
    if begins is None:
        return None
    start = begins.end()
    end = text.find(")", start) + 1
    while 0 < end <= start + _MAX_CHARS:
        try:
            with warnings.catch_warnings(action="ignore"):  # a bad escape in a string is not ours to mend
                tree = ast.parse(text[start:end], mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            end = text.find(")", end) + 1
            continue
        found = _call(tree, tools)
        return (end, *found) if found else None
    return None


def begins_python(text: str, start: int = 0) -> bool:
    """Whether a call in Python begins there, be it whole or not."""
    return _BEGINS.match(text, start) is not None


def _call(tree: ast.expr, tools: AbstractSet[str]) -> tuple[str, str] | None:
    if not isinstance(tree, ast.Call):
        return None
    name = ast.unparse(tree.func)
    if name == "print" and len(tree.args) == 1:
        return _call(tree.args[0], tools)
    name = name if name in tools else name.partition(".")[0]  # as in `search.call(…)`
    if name not in tools or tree.args:
        return None
    try:
        arguments = {each.arg: ast.literal_eval(each.value) for each in tree.keywords if each.arg}
        return name, json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return None
