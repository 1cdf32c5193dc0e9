"""Schemas of answers: closed where that shuts nothing out."""

from typing import Any

import pytest

from hutch.prompt.schema import closed

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
SHUT = OBJECT | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (OBJECT, SHUT),
        ({"type": "array", "items": OBJECT}, {"type": "array", "items": SHUT}),
        ({"properties": {"b": OBJECT}}, {"properties": {"b": SHUT}, "additionalProperties": False}),
        ({"$ref": "#/$defs/x", "$defs": {"x": OBJECT}}, {"$ref": "#/$defs/x", "$defs": {"x": SHUT}}),
        ({"anyOf": [OBJECT, {"type": "null"}]}, {"anyOf": [SHUT, {"type": "null"}]}),
        ({"oneOf": [OBJECT, True]}, {"anyOf": [SHUT, True]}),
        (
            {"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": OBJECT}},
            {"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": SHUT}},
        ),
        ({"prefixItems": [OBJECT]}, {"prefixItems": [SHUT]}),
        ({"additionalProperties": OBJECT}, {"additionalProperties": SHUT}),
    ],
)
def test_an_object_has_the_fields_that_it_names(schema: Any, wanted: Any) -> None:
    assert closed(schema) == wanted


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        OBJECT | {"additionalProperties": True},
        OBJECT | {"additionalProperties": {"type": "string"}},
        OBJECT | {"patternProperties": {"^x": {}}},
        OBJECT | {"minProperties": 3},
        OBJECT | {"required": ["a", "z"]},
        {"allOf": [OBJECT, {"properties": {"b": {}}}]},
        OBJECT | {"anyOf": [{"required": ["a"]}, {"properties": {"b": {}}}]},
        {"properties": 5, "required": "x", "anyOf": 7, "items": [1]},
    ],
)
def test_what_may_have_other_fields_stays_open(schema: Any) -> None:
    assert closed(schema) == schema


def test_the_schema_that_was_given_is_not_touched() -> None:
    given: dict[str, Any] = {"oneOf": [{"properties": {"a": {}}}]}
    closed(given)
    assert given == {"oneOf": [{"properties": {"a": {}}}]}
