"""The description of the API, made from the routes."""

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from hutch import __version__
from hutch.api.replies import ERRORS, REPLIES, Reply
from hutch.api.route import Route

JsonDict = dict[str, Any]
_REF = "#/components/schemas/"
# What a parameter in a path may be; any text where nothing is said.
_PARAMETERS: dict[str, JsonDict] = {
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "digest": {"type": "string", "pattern": "^sha256[:-][0-9a-fA-F]{64}$"},
}
_NOT_KNOWN = Reply(dict[str, Any])


def described(routes: Iterable[Route]) -> JsonDict:
    """The OpenAPI document of these routes; types of one name in two dialects are told apart by the dialect's name."""
    paths: dict[str, JsonDict] = {}
    schemas: JsonDict = {}
    for name, kind in ERRORS.items():
        schemas[f"{name}Error"] = _schema(kind, name, schemas)
    for route in routes:
        if route.documented:
            for method in route.methods:
                path = re.sub(r":\w+}", "}", route.path)
                paths.setdefault(path, {})[method.lower()] = _operation(route, method, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hutch", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],  # a key is asked for where the server has keys
    }


def _operation(route: Route, method: str, schemas: JsonDict) -> JsonDict:
    operation: JsonDict = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{route.path}").rstrip("_"),
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": _PARAMETERS.get(name, {"type": "string", "minLength": 1}),
            }
            for name in re.findall(r"\{(\w+)", route.path)
        ]
        + [
            {
                "name": name,
                "in": "query",
                "schema": {"type": "string"} | ({"enum": ["", *known]} if known else {}),
            }
            for name, known in route.query.items()
        ],
        "responses": _responses(route, method, schemas),
    }
    if route.public:
        operation["security"] = []
    if route.raw_body:
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    if route.body is not None:
        prefix = _dialect(route)
        schema = route.body.model_json_schema(ref_template=f"{_REF}{prefix}{{model}}")
        schemas |= {f"{prefix}{name}": part for name, part in schema.pop("$defs", {}).items()}
        operation["requestBody"] = {
            "required": not route.empty_body,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _responses(route: Route, method: str, schemas: JsonDict) -> JsonDict:
    reply, dialect = REPLIES.get(f"{method} {route.path}", _NOT_KNOWN), _dialect(route)
    content: JsonDict = {}
    if reply.type is not None:
        content["application/json"] = {"schema": _schema(reply.type, dialect, schemas)}
    if reply.stream:
        content[reply.stream.partition(";")[0]] = {"schema": {"type": "string"}}
    answer: JsonDict = {"description": "The answer"} | ({"content": content} if content else {})
    error: JsonDict = {"description": "An error, and what to do about it"}
    if method != "HEAD":
        error["content"] = {"application/json": {"schema": {"$ref": f"{_REF}{dialect}Error"}}}
    return {str(status): answer for status in reply.statuses} | {"4XX": error, "5XX": error}


def _dialect(route: Route) -> str:
    return type(route.dialect).__name__.removesuffix("Dialect")


def _schema(kind: Any, dialect: str, schemas: JsonDict) -> JsonDict:
    """The schema of a reply's type; those that it refers to are put into `schemas`, by names that no request has."""
    prefix = f"{dialect}Reply"
    told = TypeAdapter(kind).json_schema(ref_template=f"{_REF}{prefix}{{model}}")
    schema: JsonDict = json.loads(json.dumps(told).replace(f"{prefix}_", prefix))
    schemas |= {f"{prefix}{name.lstrip('_')}": part for name, part in schema.pop("$defs", {}).items()}
    return schema
