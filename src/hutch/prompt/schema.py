"""JSON Schemas that answers and arguments are to follow, as engines take them.

An object that does not say otherwise may have any other fields, and a small model makes them up until its tokens are
spent: so objects are closed, as in Ollama. Where any object will do, it is nested so deep and no deeper. And `oneOf` counts as `anyOf`, for no engine looks whether others would fit too.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_MAPS = ("properties", "patternProperties", "$defs", "definitions")  # of names and schemas
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties")
_COMBINING = ("anyOf", "oneOf", "allOf", "$ref")
_MAX_DEPTH = 32  # as of a schema in a request


def _any_object() -> Mapping[str, Any]:
    """A schema for any object: each level of values has the one below it inside."""
    scalars = [{"type": kind} for kind in ("string", "number", "boolean", "null")]
    levels: dict[str, Any] = {"level1": {"anyOf": scalars}}
    for depth in range(2, _MAX_DEPTH + 1):
        inner = {"$ref": f"#/$defs/level{depth - 1}"}
        nested = ({"type": "array", "items": inner}, {"type": "object", "additionalProperties": inner})
        levels[f"level{depth}"] = {"anyOf": [*scalars, *nested]}
    return {
        "type": "object",
        "additionalProperties": {"$ref": f"#/$defs/level{_MAX_DEPTH}"},
        "$defs": levels,
    }


ANY_OBJECT = _any_object()


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with its objects closed, where that shuts nothing out. What is no schema stays as it is."""
    return _changed(schema, closes=not any(map(_is_combined, _nodes(schema))))  # type: ignore[no-any-return]


def _children(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keywords that hold schemas, with what they hold."""
    for key in (*_MAPS, *_LISTS, *_SINGLES):
        kind = Mapping if key in _MAPS else list if key in _LISTS else Mapping
        if isinstance(node.get(key), kind):
            yield key, node[key]


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every schema inside a schema that is an object, itself first."""
    if isinstance(node, Mapping):
        yield node
        for key, held in _children(node):
            for inner in held.values() if key in _MAPS else held if key in _LISTS else (held,):
                yield from _nodes(inner)


def _is_combined(node: Mapping[str, Any]) -> bool:
    """Whether an object is put together of several schemas: closing one would shut the fields of the others out."""
    several = isinstance(node.get("allOf"), list) and len(node["allOf"]) > 1
    return several or ("properties" in node and any(key in node for key in _COMBINING))


def _changed(node: Any, *, closes: bool) -> Any:
    if not isinstance(node, Mapping):
        return node
    changed = dict(node)
    for key, held in _children(node):
        if key in _MAPS:
            changed[key] = {name: _changed(inner, closes=closes) for name, inner in held.items()}
        elif key in _LISTS:
            changed[key] = [_changed(inner, closes=closes) for inner in held]
        else:
            changed[key] = _changed(held, closes=closes)
    if "oneOf" in changed and "anyOf" not in changed:
        changed["anyOf"] = changed.pop("oneOf")
    if closes and _can_close(node):
        changed["additionalProperties"] = False
    return changed


def _can_close(node: Mapping[str, Any]) -> bool:
    fields, needed = node.get("properties"), node.get("required", [])
    return (
        isinstance(fields, Mapping)
        and isinstance(needed, list)
        and all(name in fields for name in needed if isinstance(name, str))
        and not any(key in node for key in ("additionalProperties", "patternProperties", "minProperties"))
    )
