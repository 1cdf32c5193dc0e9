"""The description of the API, made from the routes."""

import re
from collections.abc import Iterable
from typing import Any

from hutch import __version__
from hutch.api.route import Route

JsonDict = dict[str, Any]


def described(routes: Iterable[Route]) -> JsonDict:
    """The OpenAPI document of these routes; types of one name in two dialects are told apart by the dialect's name."""
    paths: dict[str, JsonDict] = {}
    schemas: JsonDict = {}
    for route in routes:
        if route.documented:
            for method in route.methods:
                paths.setdefault(route.path, {})[method.lower()] = _operation(route, method, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hutch", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route, method: str, schemas: JsonDict) -> JsonDict:
    operation: JsonDict = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{route.path}").rstrip("_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)", route.path)
        ]
        + [
            {
                "name": name,
                "in": "query",
                "schema": {"type": "string"} | ({"enum": [*known]} if known else {}),
            }
            for name, known in route.query.items()
        ],
        "responses": {"200": {"description": "The answer"}},
    }
    if route.body is not None:
        prefix = type(route.dialect).__name__.removesuffix("Dialect")
        schema = route.body.model_json_schema(ref_template=f"#/components/schemas/{prefix}{{model}}")
        schemas |= {f"{prefix}{name}": part for name, part in schema.pop("$defs", {}).items()}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation
