"""What a chat model is asked for each task: an instruction, a schema that its answer must follow, and how that is read. Pure.

The wording is kept short and plain for models of some hundred million parameters; `python -m bench.tasks` tells what a change does.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hutch.core.chat import Image
from hutch.core.errors import Unanswered

JsonDict = dict[str, Any]
Read = Callable[[Any], JsonDict]

MAX_ROWS = 200
_MAX_COLUMNS = 12  # that a model may choose
_MAX_FOUND = 100
_ROOM = 64  # tokens for the braces and names around what is wanted
_TEXT = {"type": "string"}
_TEXT_OR_NONE = {"type": ["string", "null"]}


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked. `read` makes the task's result of an answer that follows the schema."""

    instruction: str
    text: str
    schema: Mapping[str, Any]
    max_tokens: int
    read: Read
    images: tuple[Image, ...] = ()


def summarize(text: str, max_words: int, language: str | None) -> Question:
    """A shorter text that says the same."""
    said = f"Write a summary of the text below, in at most {max_words} words{_in(language)}. Use only what the text says."
    # A word has some tokens in most languages; an answer that goes on for longer than this repeats itself.
    return Question(said, text, _object(summary=_TEXT), max_words * 6 + _ROOM, _field("summary"))


def rewrite(text: str, style: str) -> Question:
    """The same in another style."""
    said = (
        f"Rewrite the text below in this style: {style}. Keep its meaning and its language. Do not answer it."
    )
    return Question(said, text, _object(text=_TEXT), _as_long_as(text), _field("text"))


def translate(text: str, target: str, source: str | None) -> Question:
    """The same in another language."""
    said = f"Translate the text below{f' from {source}' if source else ''} into {target}."
    return Question(said, text, _object(text=_TEXT), _as_long_as(text), _field("text"))


def classify(text: str, labels: Sequence[str]) -> Question:
    """The one of these labels that fits best."""
    said = f"Which of these labels fits the text below best: {', '.join(labels)}?"
    schema = _object(label={"type": "string", "enum": list(labels)})
    return Question(said, text, schema, max(map(len, labels)) + _ROOM, _field("label"))


def extract(text: str, fields: Mapping[str, str]) -> Question:
    """The values of these fields, each a name and what it means, as the text gives them; None where it does not."""
    listed = "\n".join(f"- {name}: {meaning}" if meaning else f"- {name}" for name, meaning in fields.items())
    said = (
        "Copy these values from the text below, word for word. A value that the text does not give is null.\n"
        + listed
    )
    schema = _object(**dict.fromkeys(fields, _TEXT_OR_NONE))
    return Question(said, text, schema, _as_long_as(text) + _written(fields), lambda answer: {"data": answer})


def extract_as(text: str, schema: Mapping[str, Any]) -> Question:
    """What a JSON Schema of the caller's describes."""
    said = "Fill in the JSON object with values from the text below, and with nothing else."
    max_tokens = _as_long_as(text) + len(json.dumps(schema))
    return Question(said, text, schema, max_tokens, lambda answer: {"data": answer})


def columns_of(text: str) -> Question:
    """The names of the columns of a table that could hold what the text says."""
    said = "The text below is to become a table. Name its columns: one short name for each kind of value."
    names = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": _MAX_COLUMNS}

    def read(answer: Any) -> JsonDict:
        named = list(dict.fromkeys(name.strip() for name in answer["columns"] if name.strip()))
        if not named:
            raise ValueError("no column has a name")
        return {"columns": named}

    return Question(said, text, _object(columns=names), _MAX_COLUMNS * 16 + _ROOM, read)


def rows_of(text: str, columns: Sequence[str]) -> Question:
    """The rows of a table with these columns."""
    said = (
        f"Turn the text below into a table with the columns {', '.join(columns)}. "
        "Each thing that it tells of is one row. A value that the text does not give is null."
    )
    row = _object(**dict.fromkeys(columns, _TEXT_OR_NONE))
    rows = {"type": "array", "items": row, "maxItems": MAX_ROWS}

    def read(answer: Any) -> JsonDict:
        return {
            "columns": list(columns),
            "rows": [[each[name] for name in columns] for each in answer["rows"]],
        }

    # Every row names its columns, and a text has fewer rows than words.
    max_tokens = _as_long_as(text) + min(MAX_ROWS, len(text.split()) + 1) * _written(columns)
    return Question(said, text, _object(rows=rows), max_tokens, read)


def names_in(text: str, kinds: Sequence[str]) -> Question:
    """What in the text is of one of these kinds, such as `person`."""
    said = (
        f"List everything in the text below that is one of these: {', '.join(kinds)}. Copy it word for word."
    )
    found = {
        "type": "array",
        "items": _object(kind={"type": "string", "enum": list(kinds)}, text=_TEXT),
        "maxItems": _MAX_FOUND,
    }

    def read(answer: Any) -> JsonDict:
        if len(answer["found"]) >= _MAX_FOUND:  # where the schema ends the list, whatever else there is
            raise Unanswered(f"the text has {_MAX_FOUND} names or more", hint="Send it in parts.")
        return {"found": [(each["kind"], each["text"]) for each in answer["found"]]}

    return Question(said, text, _object(found=found), 2 * _as_long_as(text), read)


def describe(image: Image, prompt: str | None, max_words: int) -> Question:
    """What is to be seen."""
    said = prompt or f"Describe this picture in at most {max_words} words."
    schema = _object(description=_TEXT)
    return Question(said, "", schema, max_words * 6 + _ROOM, _field("description"), (image,))


def _object(**properties: Any) -> JsonDict:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _field(name: str) -> Read:
    return lambda answer: {name: answer[name]}


def _in(language: str | None) -> str:
    return f", in {language}" if language else ""


def _written(names: Iterable[str]) -> int:
    """Tokens for the names of an object, with what stands around them."""
    return sum(len(name) + 8 for name in names)


def _as_long_as(text: str) -> int:
    """Tokens for an answer of about the text's length: one for each character is enough in every language."""
    return len(text) + 2 * _ROOM
