"""A model's text taken apart while it comes: what it thinks, which tools it calls, what it says.

For prompts that a TEMPLATE made: the marks to look for are the template's own. What can be no mark passes at once.
"""

import json
import re
import uuid
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from hutch.core.chat import Chunk, ToolCall
from hutch.prompt.python_calls import PythonCalls, begins_python

_DECODER = json.JSONDecoder()
_BARE = ("{", "[")  # markers that any JSON may begin with: then a call is all of the answer, or none of it
_TAG = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
_CLOSING = re.compile(r"\A\s*</[^<>\s]{1,64}>")
_TRIMMINGS = re.compile(r"</?[^<>\s]{1,64}>|\[/?\w{1,64}\]|```\w*|[\s,;()\[\]{}]")
_NAMES = ("name", "tool_name", "function")
_ARGUMENTS = ("arguments", "parameters", "args")
_MAX_DEPTH = 8
# An object that is a call, up to where its arguments begin; and an object whose first key is known.
_BESIDE = r'(?:"(?:id|type)"\s*:\s*"[^"\\]*"\s*,\s*)?'
_BEGUN = re.compile(
    rf'\{{\s*{_BESIDE}"(?:name|tool_name|function)"\s*:\s*"([^"\\]*)"\s*,\s*{_BESIDE}'
    r'"(?:arguments|parameters|args)"\s*:\s*(?=\{)'
)
_FIRST_KEY = re.compile(r'\{\s*(?:\}|"((?:[^"\\]|\\.)*)"\s*:)')


@dataclass(frozen=True, slots=True)
class Marks:
    """What an answer is taken apart by. `thinking`: the tags around thoughts; `tools`: the names that may be called.

    `others`: markers that may stand in the place of `marker`. `is_streamed`: arguments come in pieces, as they are written.
    `has_python`: calls may be Python's, too.
    """

    thinking: tuple[str, str] | None = None
    tools: frozenset[str] = frozenset()
    marker: str = "{"
    max_calls: int | None = None
    others: tuple[str, ...] = ()
    is_streamed: bool = False
    has_python: bool = False

    @property
    def tags(self) -> list[str]:
        """Each marker, or the tag that it begins with: what models write after that is not always the same."""
        markers = [marker for marker in (self.marker, *self.others) if marker not in _BARE]
        return [match.group() if (match := _TAG.match(marker)) else marker for marker in markers]

    @property
    def is_bare(self) -> bool:
        """Whether calls may be all of the answer, without a marker."""
        return any(marker in _BARE for marker in (self.marker, *self.others))

    @property
    def tokens(self) -> list[str]:
        """Texts that may each be a single token, and must not be left out of the answer's text."""
        return [*(self.thinking or ()), *(self.tags if self.tools else [])]


class Reader:
    """Takes one answer apart. `prompt` tells whether the thinking has begun already."""

    def __init__(self, marks: Marks, prompt: str) -> None:
        self._thoughts = _Thoughts(marks.thinking, prompt) if marks.thinking else None
        self._calls = _Calls(marks) if marks.tools else None

    def feed(self, chunk: Chunk) -> Chunk:
        """The chunk with its text sorted. Text that may yet turn out to be a mark is held back."""
        if not chunk.text:
            return chunk
        thinking, text = self._thoughts.feed(chunk.text) if self._thoughts else ("", chunk.text)
        text, calls = self._calls.feed(text) if self._calls else (text, ())
        return replace(chunk, text=text, thinking=thinking, tool_calls=calls)

    def end(self, chunk: Chunk) -> Chunk:
        """The last chunk, with all that was still held back. Its reason says whether tools were called."""
        chunk = self.feed(chunk)
        thinking, text = self._thoughts.end() if self._thoughts else ("", "")
        calls: tuple[ToolCall, ...] = ()
        if self._calls:
            text, calls = self._calls.feed(text)
            text += self._calls.end()
            if self._calls.num_calls and chunk.finish_reason == "stop":
                chunk = replace(chunk, finish_reason="tool_calls")
        return replace(
            chunk,
            text=chunk.text + text,
            thinking=chunk.thinking + thinking,
            tool_calls=chunk.tool_calls + calls,
        )


@dataclass(slots=True)
class _Open:
    """A call whose arguments are being written: where its object and they begin, and how far they were passed on."""

    object_at: int
    arguments_at: int
    sent: int


class _Stage(Enum):
    BEFORE = auto()
    INSIDE = auto()
    AFTER = auto()


class _Thoughts:
    """Thoughts stand between two tags at the beginning, or nowhere. Space around them is dropped."""

    def __init__(self, tags: tuple[str, str], prompt: str) -> None:
        self._opening, self._closing = tags
        self._stage = _Stage.INSIDE if prompt.rstrip().endswith(self._opening) else _Stage.BEFORE
        self._held = ""
        self._drops_space = True

    def feed(self, text: str) -> tuple[str, str]:
        """What of this is thought, and what is said."""
        held, self._held = self._held + text, ""
        thinking = ""
        if self._stage is _Stage.BEFORE:
            seen = held.lstrip()
            if len(seen) < len(self._opening) and self._opening.startswith(seen):
                self._held = held
                return "", ""
            self._stage, self._drops_space = _Stage.AFTER, False
            if seen.startswith(self._opening):
                self._stage, self._drops_space = _Stage.INSIDE, True
                held = seen.removeprefix(self._opening)
        if self._drops_space:
            held = held.lstrip()
        if self._stage is _Stage.INSIDE and held:
            thinking, found, rest = held.partition(self._closing)
            self._drops_space = bool(found)
            if not found:
                kept = _overlap(held, self._closing)
                self._held = held[len(held) - kept :]
                return held[: len(held) - kept], ""
            self._stage, held = _Stage.AFTER, rest.lstrip()
        if held:
            self._drops_space = False
        return thinking, held

    def end(self) -> tuple[str, str]:
        """What was held back."""
        held, self._held = self._held, ""
        return (held, "") if self._stage is _Stage.INSIDE else ("", held)


class _Calls:
    """Calls are JSON objects that name a tool, behind a marker; or behind a tool's name, as its arguments."""

    def __init__(self, marks: Marks) -> None:
        self.num_calls = 0
        self._marks = marks
        self._is_bare = marks.is_bare
        self._stage = _Stage.BEFORE
        self._held = ""
        self._from = 0  # what stands before this in `_held` is no call
        self._open: _Open | None = None
        self._python_calls = PythonCalls(marks.tools)

    def feed(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """What of this is said, and the calls that are complete, or begun."""
        if self._stage is _Stage.AFTER:
            return text, ()
        self._held += text
        said = ""
        if self._stage is _Stage.BEFORE:
            said, is_found = self._before_marker()
            if not is_found:
                return said, ()
        calls = tuple(self._found(text))
        if self._is_bare and self._from:  # an object that is no call: then nothing is
            self._stage = _Stage.AFTER
            said, self._held = said + self._held, ""
        return said, calls

    def end(self) -> str:
        """What was held back and turned out to be no call."""
        held, self._held = self._held[self._open.sent if self._open else 0 :], ""
        if not self.num_calls:
            return held
        return _CLOSING.sub("", held, count=1).strip() if _TRIMMINGS.sub("", held) else ""

    def _before_marker(self) -> tuple[str, bool]:
        """What is said before the marker, and whether that is there: with it the calls begin."""
        held, tags = self._held, self._marks.tags
        if self._is_bare:
            begins = held.lstrip()
            if not begins:
                return "", False
            if begins.startswith(_BARE):
                self._stage = _Stage.INSIDE
                return "", True
            self._is_bare = False
        if not tags:
            self._stage, self._held = _Stage.AFTER, ""
            return held, False
        at = min((found for tag in tags if (found := held.find(tag)) >= 0), default=-1)
        if at >= 0:
            self._stage = _Stage.INSIDE
            before = held[:at]
        else:
            before = held[: len(held) - max(_overlap(held, tag) for tag in tags)]
        self._held = held[len(before) :]
        return before, at >= 0

    def _found(self, text: str) -> Iterator[ToolCall]:
        """The calls that are complete or begun, now that this text has come."""
        tag = next((tag for tag in self._marks.tags if self._held.startswith(tag)), "")
        if self._marks.has_python and not self._open and begins_python(self._held, len(tag)):
            if ")" in text:
                yield from self._python(len(tag))
        elif self._marks.is_streamed or "}" in text:
            yield from self._objects()

    def _objects(self) -> Iterator[ToolCall]:
        """Calls whose JSON is whole, and pieces of one whose arguments have begun."""
        while self._open or (at := self._held.find("{", self._from)) >= 0:
            if self._open or (self._marks.is_streamed and (yield from self._begun(at))):
                if (end := (yield from self._piece())) is None:
                    return
                self._held, self._from, self._open = self._held[end:], 0, None
                continue
            try:
                value, end = _DECODER.raw_decode(self._held, at)
            except (ValueError, RecursionError):
                return
            found = list(_named(value, self._marks.tools, 0))
            if not found and (name := _longest(self._held[:at], self._marks.tools)):
                found = [(name, value)]
            if not found:
                self._from = end
                continue
            self._held, self._from = self._held[end:], 0
            for name, arguments in found:
                yield from self._call(name, json.dumps(arguments, ensure_ascii=False))

    def _begun(self, at: int) -> Generator[ToolCall, None, bool]:
        """Whether the object there is a call whose arguments have begun; if so, its name is passed on."""
        if self.num_calls == self._marks.max_calls:
            return False
        if (match := _BEGUN.match(self._held, at)) and match[1] in self._marks.tools:
            name, arguments_at = match[1], match.end()
        elif (match := _FIRST_KEY.match(self._held, at)) and match[1] not in _NAMES:
            name, arguments_at = _longest(self._held[:at], self._marks.tools), at
        else:
            return False
        if name:
            self._open = _Open(at, arguments_at, arguments_at)
            yield from self._call(name, "")
        return bool(name)

    def _piece(self) -> Generator[ToolCall, None, int | None]:
        """What the open call's arguments grew by; where its object ends, or None where it goes on."""
        call = self._open
        if call is None:
            return None
        end = _object_end(self._held, call.arguments_at)
        until = len(self._held) if end is None else end
        if until > call.sent:
            yield ToolCall(self.num_calls - 1, "", "", self._held[call.sent : until])
            call.sent = until
        return None if end is None else _object_end(self._held, call.object_at)

    def _python(self, start: int) -> Iterator[ToolCall]:
        """Calls in Python that are whole."""
        while found := self._python_calls.find(self._held, start):
            end, name, arguments = found
            self._held, start = self._held[end:], 0
            yield from self._call(name, arguments)

    def _call(self, name: str, arguments: str) -> Iterator[ToolCall]:
        if self._marks.max_calls is None or self.num_calls < self._marks.max_calls:
            yield ToolCall(self.num_calls, f"call_{uuid.uuid4().hex[:24]}", name, arguments)
            self.num_calls += 1


def _object_end(text: str, at: int) -> int | None:
    """Where the JSON object ends that begins there; None where it is not whole."""
    try:
        return _DECODER.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return None


def _named(value: Any, tools: frozenset[str], depth: int) -> Iterator[tuple[str, Any]]:
    """The calls in a JSON value: objects with a tool's name and its arguments, or with the name as their one key."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
        if name in tools:
            yield name, next((_object(value[key]) for key in _ARGUMENTS if key in value), {})
            return
        for key, inner in value.items():
            if key in tools and isinstance(inner, Mapping):
                yield key, inner
                return
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for inner in inside:
        yield from _named(inner, tools, depth + 1)


def _object(value: Any) -> Any:
    """Arguments as an object, also where they come as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def _longest(text: str, tools: frozenset[str]) -> str:
    """The longest tool's name that stands in a text as a word."""
    found = [name for name in tools if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    return max(found, key=len, default="")


def _overlap(text: str, mark: str) -> int:
    """How many of the text's last characters may be the beginning of the mark."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)
