"""Modelfiles: text to value and back.

    file      = { blank | comment | command }
    command   = KEYWORD space value        KEYWORD in any case; PARAMETER has a name before the value, MESSAGE a role
    value     = text to the end of the line
              | '"' text '"'  |  '\"\"\"' text '\"\"\"'    no escapes; it goes on until a line ends with the closing quotes
    document  = path [ " AS " name ]       the value of FILE, which Ollama does not have

A line of a text that itself ends in three quotes is written with U+034F after them. The mark cannot be seen; it is
taken off when read, and Ollama, where such a text would end too early, keeps it and reads on.

Pure: opens no file, and knows nothing of what FROM means.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from hutch.core.errors import BadInput
from hutch.core.options import DEPRECATED, PARAMETER_ALIASES, parse_option
from hutch.formats.text import decode

KEYWORDS = (
    "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "parameter", "message", "requires",
)  # fmt: skip
_FILE = "file"  # Hutch's own, and so not in Ollama's list
_ONCE_IN_ORDER = (
    "adapter",
    "draft",
    "template",
    "system",
    "renderer",
    "parser",
    "requires",
)  # the last one counts; a second adapter is refused
_ROLES = ("system", "user", "assistant")
_FENCE = '"""'
_WORD = re.compile(r"([A-Za-z]*)(?:([ \t])|$)")
_NAME = re.compile(r"([A-Za-z0-9_]+)[ \t]")
_MARK = "\u034f"
_ENDING_QUOTES = re.compile(rf'("""{_MARK}*)(?=[ \t]*\n)')
_MARKED_QUOTES = re.compile(rf'("""{_MARK}*){_MARK}(?=[ \t]*\n)')


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What a Modelfile says. None means that it is silent, an empty text that it says so."""

    sources: tuple[str, ...]  # of FROM: models or files
    template: str | None = None
    system: str | None = None
    adapter: str | None = None  # a path, as that of `draft`
    draft: str | None = None
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    messages: tuple[Mapping[str, str], ...] = ()
    licenses: tuple[str, ...] = ()
    documents: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({})
    )  # names to paths, of FILE
    deprecated: tuple[str, ...] = ()  # parameters that are passed over
    lines: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    """Where each field of `/api/create` is said: `template`, `documents.guide.txt` …"""


class Instruction(NamedTuple):
    """One command. `word` is a PARAMETER's name, or a MESSAGE's role; `line` counts from 1."""

    line: int
    keyword: str
    word: str
    value: str


def parse(data: bytes) -> Modelfile:
    """Read a Modelfile. Raises BadInput in Ollama's words, with the line."""
    sources: list[str] = []
    once: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    messages: list[Mapping[str, str]] = []
    licenses: list[str] = []
    documents: dict[str, str] = {}
    deprecated: list[str] = []
    lines: dict[str, int] = {}
    for line, keyword, word, value in instructions(decode(data, "the Modelfile")):
        match keyword:
            case "from":
                sources.append(value)
            case "license":
                licenses.append(value)
            case "message":
                messages.append({"role": word, "content": value})
            case "parameter" if word in DEPRECATED:
                deprecated.append(word)
            case "parameter":
                _set(parameters, line, word, value)
            case "file":
                name, path = _document(line, value)
                if name in documents:
                    raise BadInput(
                        f"(line {line}): another document is named {name}",
                        hint=f"Give it a name of its own: FILE {path} AS other-name",
                    )
                documents[name] = path
                lines[f"documents.{name}"] = line
            case _:
                _check_only(keyword, line, lines)
                once[keyword] = value
                lines[keyword] = line
    if not sources:
        raise BadInput("no FROM line", hint="FROM names the model or the GGUF file to begin with.")
    return Modelfile(
        tuple(sources),
        parameters=MappingProxyType(parameters),
        messages=tuple(messages),
        licenses=tuple(licenses),
        documents=MappingProxyType(documents),
        deprecated=tuple(deprecated),
        lines=MappingProxyType(lines),
        **once,
    )


def instructions(text: str) -> Iterator[Instruction]:
    """Read commands one by one. Characters that cannot be printed are dropped."""
    lines = enumerate(map(_visible, re.split(r"\r\n|\r|\n", text)), 1)
    for number, raw in lines:
        line = raw.lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        found = _WORD.match(line)
        keyword = found[1].lower() if found else ""
        if found is None or not found[2] or keyword not in (*KEYWORDS, _FILE):
            known = ", ".join(f'"{each}"' for each in KEYWORDS[:-1])
            raise BadInput(
                f'(line {number}): command must be one of {known}, or "{KEYWORDS[-1]}"',
                hint="Hutch also has FILE, for a document.",
            )
        rest = line[found.end() :].lstrip(" \t")
        word = ""
        if keyword in ("parameter", "message"):
            word, rest = _word(number, keyword, rest)
        yield Instruction(number, keyword, word, _value(number, rest, lines))


def render(modelfile: Modelfile) -> str:
    """Write a Modelfile that reads back the same."""
    said = [("FROM", source) for source in modelfile.sources]
    once = {name: getattr(modelfile, name) for name in _ONCE_IN_ORDER}
    said += [(name.upper(), value) for name, value in once.items() if value is not None]
    for name, value in modelfile.parameters.items():
        values = value if isinstance(value, list | tuple) else (value,)
        said += [(f"PARAMETER {name}", option_text(one)) for one in values]
    said += [("LICENSE", text) for text in modelfile.licenses]
    said += [(f"MESSAGE {each['role']}", each["content"]) for each in modelfile.messages]
    said += [("FILE", f"{path} AS {name}") for name, path in modelfile.documents.items()]
    return "".join(f"{keyword} {_quoted(value)}\n" for keyword, value in said)


def option_text(value: object) -> str:
    """An option's value as a Modelfile writes it."""
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_only(keyword: str, line: int, lines: Mapping[str, int]) -> None:
    if keyword == "adapter" and keyword in lines:
        raise BadInput(
            f"(line {line}): only one adapter is currently supported",
            hint=f"There is another on line {lines[keyword]}: leave one out.",
        )


def _set(parameters: dict[str, Any], line: int, name: str, text: str) -> None:
    name = PARAMETER_ALIASES.get(name, name)
    try:
        value = parse_option(name, text)
    except BadInput as error:
        raise BadInput(error.message, hint=f"(line {line}): {error.hint}".rstrip(" :")) from error
    if isinstance(value, list | tuple):
        value = [*parameters.get(name, ()), *value]
    parameters[name] = value


def _document(line: int, value: str) -> tuple[str, str]:
    """A document's name and path. Unless it is said otherwise, the name is that of the file."""
    path, _, name = value.rpartition(" AS ") if " AS " in value else (value, "", "")
    path = _unquoted(path)
    name = _unquoted(name) or re.split(r"[/\\]", path)[-1]
    if not name:
        raise BadInput(f"(line {line}): FILE needs the path of a document", hint="FILE ./guide.txt")
    return name, path


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _visible(line: str) -> str:
    return "".join(each for each in line if each == "\t" or each.isprintable())


def _word(number: int, keyword: str, rest: str) -> tuple[str, str]:
    """Take a PARAMETER's name or a MESSAGE's role off the value."""
    found = _NAME.match(rest)
    if keyword == "message" and (found is None or found[1] not in _ROLES):
        raise BadInput(f'(line {number}): message role must be one of "system", "user", or "assistant"')
    if found is None:
        raise BadInput("unexpected EOF", hint=f"(line {number}): PARAMETER needs a name and a value.")
    return found[1], rest[found.end() :].lstrip(" \t")


def _value(number: int, rest: str, lines: Iterator[tuple[int, str]]) -> str:
    """Take a value, which goes over the next lines until its quotes close."""
    value = rest.strip(" \t")
    quote = next((each for each in (_FENCE, '"') if value.startswith(each)), "")
    gathered = [rest]
    while not (value.endswith(quote) and len(value) >= 2 * len(quote)):
        following = next(lines, None)
        if following is None:
            raise BadInput("unexpected EOF", hint=f"(line {number}): the quotes that open here do not close.")
        gathered.append(following[1])
        if following[1].rstrip(" \t").endswith(quote):
            value = "\n".join(gathered).strip()
    value = value[len(quote) : len(value) - len(quote)]
    return _MARKED_QUOTES.sub(r"\1", value) if quote == _FENCE else value


def _quoted(value: str) -> str:
    if value and value == value.strip() and "\n" not in value and not value.startswith('"'):
        return value
    if '"' not in value:
        return f'"{value}"'
    marked = _ENDING_QUOTES.sub(rf"\1{_MARK}", value)
    return f"{_FENCE}{marked}{_FENCE}"
