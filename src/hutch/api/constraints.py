"""What an answer is held to, in the words of OpenAI and of those whose clients say more: vLLM, llama.cpp, Fireworks, Together."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from hutch.api.limits import checked_form, checked_schema
from hutch.api.route import Wire
from hutch.core.chat import Form, ResponseFormat
from hutch.core.errors import BadInput, NotBuilt

_MAX_CHOICES = 1000
_MAX_NAMED = 8  # in an error


class Constrained(Wire):
    """The fields of a body. Of all of them, one may hold the answer to something."""

    response_format: dict[str, Any] | None = None
    grammar: str | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    structured_outputs: dict[str, Any] | None = None

    def form(self) -> ResponseFormat | None:
        """What the answer is held to; None where it is free. Raises BadInput that names the field."""
        asked = {"grammar": ("grammar", self.grammar)}
        for kind in ("json", "regex", "choice", "grammar"):
            asked[f"guided_{kind}"] = kind, getattr(self, f"guided_{kind}")
        for kind, said in (self.structured_outputs or {}).items():
            asked[f"structured_outputs.{ascii(kind[:40])[1:-1]}"] = kind, said
        given = {param: pair for param, pair in asked.items() if pair[1] not in (None, "", False)}
        free = self.response_format is None or self.response_format.get("type", "text") == "text"
        if len(given) + (not free) > 1:
            names = [*given, *([] if free else ["response_format"])]
            raise BadInput(f"only one of {', '.join(names[:_MAX_NAMED])} can be given", param=names[0])
        for param, (kind, said) in given.items():
            if kind not in _READERS:
                raise NotBuilt(
                    f"{param} is not supported", hint=f"There are: {', '.join(_READERS)}.", param=param
                )
            return _READERS[kind](said, param)
        return None if free else _response_format(self.response_format or {})


def _response_format(value: Mapping[str, Any]) -> ResponseFormat:
    kind, inner = value["type"], value.get("json_schema")
    if kind == "json_object":
        return "json"
    if kind == "grammar":
        return _grammar(value.get("grammar"), "response_format.grammar")
    if kind == "regex":
        return _regex(value.get("pattern"), "response_format.pattern")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise BadInput(
            "response_format: it takes text, json_object, json_schema with json_schema.schema, "
            "regex with pattern, or grammar with grammar",
            param="response_format",
        )
    return checked_schema(schema, "response_format")


def _json(said: object, param: str) -> ResponseFormat:
    schema = said
    if isinstance(said, str):
        try:
            schema = json.loads(said)
        except (ValueError, RecursionError):
            schema = None
    if not isinstance(schema, dict):
        raise BadInput(f"{param}: a JSON Schema object is needed", param=param)
    return checked_schema(schema, param)


def _json_object(said: object, param: str) -> ResponseFormat:
    if said is not True:
        raise BadInput(f"{param}: true is needed", param=param)
    return "json"


def _regex(said: object, param: str) -> Form:
    return Form("regex", checked_form(said, param), param)


def _grammar(said: object, param: str) -> Form:
    return Form("grammar", checked_form(said, param), param)


def _choice(said: object, param: str) -> Form:
    if not isinstance(said, list) or not said or not all(isinstance(text, str) and text for text in said):
        raise BadInput(f"{param}: a list of texts is needed", param=param)
    if len(said) > _MAX_CHOICES:
        raise BadInput(f"{param}: more than {_MAX_CHOICES} texts", param=param)
    written = " | ".join(json.dumps(text, ensure_ascii=False) for text in said)
    return Form("grammar", checked_form(f"root ::= {written}", param, is_counted=False), param)


_READERS: Mapping[str, Callable[[object, str], ResponseFormat]] = MappingProxyType(
    {"json": _json, "json_object": _json_object, "regex": _regex, "choice": _choice, "grammar": _grammar}
)
