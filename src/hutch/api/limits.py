"""How large the parts of a request may be."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from hutch.core.errors import BadInput

MAX_MESSAGES = 10_000
MAX_TOOLS = 256
MAX_INPUTS = 4096
MAX_TEXT_CHARS = 1 << 20  # to be taken apart in one request
MAX_TOKENS = 1 << 20  # to be put together
MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 128  # answers to one prompt
MAX_ANSWERS = 4096  # to all prompts of a request
THINK_LEVELS = ("low", "medium", "high", "max")
_MAX_TOKEN_ID = (1 << 31) - 1  # the engine would cut a larger one to 32 bits, in silence
_MAX_SCHEMA_CHARS = 64 << 10
_MAX_FORM_CHARS = 64 << 10  # of a regular expression or a grammar
_MAX_SCHEMA_DEPTH = 32
_MAX_REPEAT = 1000
# Of a pattern or a grammar: what is escaped or in brackets, a count, or any one character.
_PARTS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{(\d*)(?:,(\d*))?\}|[^\s]", re.DOTALL)
_PARTS_WITHOUT_BRACKETS = re.compile(r"\\.|\{(\d*)(?:,(\d*))?\}|[^\s]", re.DOTALL)
_COUNTED = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_EFFORTS: dict[str, bool | str] = {  # from the least to the most
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
    "ultra": "max",
}


def checked_token_ids(ids: Iterable[int], name: str) -> tuple[int, ...]:
    """Refuse numbers that are no token ids of any vocabulary. Raises BadInput that names the field."""
    ids = tuple(ids)
    if any(not 0 <= token <= _MAX_TOKEN_ID for token in ids):
        raise BadInput(f"{name}: token ids are from 0 to {_MAX_TOKEN_ID}", param=name)
    return ids


def checked_schema(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Refuse a JSON Schema that would take long to turn into a grammar. Raises BadInput that names the field."""
    text = json.dumps(schema)
    if len(text) > _MAX_SCHEMA_CHARS:
        raise BadInput(f"{name}: the schema has more than {_MAX_SCHEMA_CHARS >> 10} KiB", param=name)
    _walk(schema, name, 0)
    return schema


def _walk(value: Any, name: str, depth: int) -> None:
    if depth > _MAX_SCHEMA_DEPTH:
        raise BadInput(f"{name}: the schema is nested deeper than {_MAX_SCHEMA_DEPTH}", param=name)
    if isinstance(value, list):
        for item in value:
            _walk(item, name, depth + 1)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in _COUNTED and isinstance(item, int | float) and item > _MAX_REPEAT * 10:
            raise BadInput(f"{name}: {key} is more than {_MAX_REPEAT * 10}", param=name)
        if key == "pattern" and isinstance(item, str):
            _check_repeats(item, name)
        _walk(item, name, depth + 1)


def checked_form(text: object, name: str, *, is_counted: bool = True) -> str:
    """Refuse a regular expression or a grammar that is none, or would take long to compile. Raises BadInput that names the field.

    `is_counted`: whether numbers in braces repeat what is before them.
    """
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{name}: a text is needed", param=name)
    if len(text) > _MAX_FORM_CHARS:
        raise BadInput(f"{name}: it has more than {_MAX_FORM_CHARS >> 10} KiB", param=name)
    if is_counted:
        _check_repeats(text, name)
    return text


def _check_repeats(text: str, name: str) -> None:
    """Refuse what repeats too often: at once, or by repetitions inside of repetitions, which multiply."""
    open_groups, item = (
        [1],
        1,
    )  # the most that anything in each open group, and in what was just read, is repeated
    for part in _parts(text):
        if part.group() == "(":
            open_groups.append(1)
            item = 1
        elif part.group() == ")":
            item = open_groups.pop() if len(open_groups) > 1 else 1
        elif counts := [n.lstrip("0") for n in part.groups() if n]:
            if any(len(n) > len(str(_MAX_REPEAT)) or int(n or "0") > _MAX_REPEAT for n in counts):
                raise BadInput(f"{name}: a pattern repeats more than {_MAX_REPEAT} times", param=name)
            item *= max(int(n or "1") for n in counts)
        else:
            item = 1
        if item > _MAX_REPEAT * 10:
            raise BadInput(
                f"{name}: repetitions inside of each other come to more than {_MAX_REPEAT * 10}", param=name
            )
        open_groups[-1] = max(open_groups[-1], item)


def _parts(text: str) -> Iterator[re.Match[str]]:
    """The parts, in one pass: behind a bracket that never ends, none ends, and so none is looked for."""
    parts, at = _PARTS, 0
    while part := parts.search(text, at):
        if part.group() == "[":
            parts = _PARTS_WITHOUT_BRACKETS
        yield part
        at = part.end()


def checked_tools(tools: list[dict[str, Any]] | None) -> tuple[dict[str, Any], ...]:
    """Refuse tools that are none. Raises BadInput that says which."""
    if len(tools or ()) > MAX_TOOLS:
        raise BadInput(f"tools: more than {MAX_TOOLS}", param="tools")
    for index, tool in enumerate(tools or ()):
        function = tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, dict):
            raise BadInput(f"tools.{index}: only tools of type function are known", param=f"tools.{index}")
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise BadInput(
                f"tools.{index}.function.name: a name is needed", param=f"tools.{index}.function.name"
            )
        parameters = function.get("parameters")
        if parameters is not None:
            if not isinstance(parameters, dict):
                raise BadInput(
                    f"tools.{index}.function.parameters: a JSON Schema object is needed",
                    param=f"tools.{index}.function.parameters",
                )
            checked_schema(parameters, f"tools.{index}.function.parameters")
    return tuple(tools or ())


def checked_effort(effort: str | None, name: str, least: str = "none") -> bool | str | None:
    """OpenAI's or Anthropic's word for how much to think, as Ollama's. Raises BadInput for a word that is none.

    `name` is the field; `least` is the first of the words that it takes.
    """
    if effort is None:
        return None
    known = list(_EFFORTS)[list(_EFFORTS).index(least) :]
    if effort not in known:
        raise BadInput(f"{name}: {effort!a:.40} is none of {', '.join(known)}", param=name)
    return _EFFORTS[effort]
