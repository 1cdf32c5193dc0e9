"""The deployment file: JSON with `deployment` and `performance`, as the guide writes them. Errors point at path and line."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from json import decoder
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from hutch.core.deployment import DEFAULT_PORT, Deployment
from hutch.core.errors import BadInput
from hutch.core.hardware import parse_hardware
from hutch.core.names import ModelName
from hutch.core.sizes import whole_size

MAX_BYTES = 1 << 20
_MAX_SHOWN = 8
_HINT = "The keys are in docs/deploy.md."
_SPACE = re.compile(r"[\s:,]*")
_SIZE = TypeAdapter(ByteSize)
Path = tuple[str | int, ...]
Document = dict[str, Any]


def _model(value: object) -> object:
    try:
        return ModelName.parse(value).short if isinstance(value, str) else value
    except BadInput as error:
        raise ValueError(f"{error.message}. {error.hint}") from error


def _hardware(value: object) -> object:
    """One kind of device or provider."""
    try:
        if isinstance(value, str) and len(parse_hardware(value)) != 1:
            raise ValueError("name one kind of device, such as npu, gpu or cpu")
    except BadInput as error:
        raise ValueError(f"{error.message}. {error.hint}".rstrip(". ")) from error
    return value.strip().lower() if isinstance(value, str) else value


def _size(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('write a size, such as "4GB"')  # noqa: TRY004 - pydantic takes no TypeError
    try:
        return int(_SIZE.validate_python(whole_size(value)))
    except ValueError as error:
        raise ValueError(f'{str(value)[:40]!r} is no size; write one such as "4GB" or "512MiB"') from error


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Item = Annotated[str, BeforeValidator(_hardware)]
_Count = Annotated[int, Field(ge=1, le=256)]


class _Hardware(_Part):
    preferred: _Item | None = None
    fallback: Annotated[list[_Item], Field(max_length=15)] = Field(default_factory=list)


class _Optimization(_Part):
    quantization: Literal["dynamic", "none"] = "none"
    batch_size: _Count | None = None
    max_context: Annotated[int, Field(ge=1, le=1 << 24)] | None = None


class _Api(_Part):
    port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_PORT
    openai_compatible: bool = True


class _Deployment(_Part):
    model: Annotated[str, BeforeValidator(_model)]
    hardware: _Hardware = _Hardware()
    optimization: _Optimization = _Optimization()
    api: _Api = _Api()


class _Memory(_Part):
    enable_kv_cache: bool = True
    max_cache_size: Annotated[int, BeforeValidator(_size), Field(ge=1, le=1 << 50)] | None = None


class _Scheduling(_Part):
    enable_dynamic_batching: bool = True
    max_batch_size: _Count | None = None


class _Performance(_Part):
    batch_processing: bool = True
    parallel_requests: _Count | None = None
    memory_optimization: _Memory = _Memory()
    hardware_scheduling: _Scheduling = _Scheduling()


class _File(_Part):
    deployment: _Deployment
    performance: _Performance = _Performance()


def read(data: bytes, label: str) -> Document:
    """The JSON object of a file, which errors call `label`, with `FILE:LINE` where a line is known. Raises BadInput."""
    if len(data) > MAX_BYTES:
        raise BadInput(f"{label} has {len(data):,} bytes; at most {MAX_BYTES:,} are allowed")
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{label}:{error.lineno}: no JSON: {error.msg} (column {error.colno})", hint="Mend the file."
        ) from error
    except (ValueError, RecursionError) as error:
        why = "too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise BadInput(f"{label} is no JSON: {why}", hint="Mend the file.") from error
    if not isinstance(document, dict):
        raise BadInput(f"{label} holds no JSON object", hint=_HINT)
    return document


def parse(document: Mapping[str, Any], lines: Mapping[Path, str] | None = None) -> Deployment:
    """Check the whole document. `lines` says where each key stands, as `FILE:LINE`. Raises BadInput that names every wrong key."""
    where = lines or {}
    try:
        file = _File.model_validate(document)
    except ValidationError as problem:
        errors = problem.errors(include_url=False)
        told = [_told(error, where) for error in errors[:_MAX_SHOWN]]
        more = [f"and {len(errors) - _MAX_SHOWN} more"] if len(errors) > _MAX_SHOWN else []
        raise BadInput("\n".join([*told, *more]), hint=_HINT) from problem
    made = _of(file)
    if made.max_batch_size and made.batch_size > made.max_batch_size:
        path = ("deployment", "optimization", "batch_size")
        raise BadInput(
            f"{_place(path, where)}: {made.batch_size} is more than "
            f"performance.hardware_scheduling.max_batch_size, which is {made.max_batch_size}",
            hint="Raise the latter, or lower this one.",
        )
    return made


def document_of(deployment: Deployment) -> Document:
    """The document that says all of it, defaults too. `parse` makes the same deployment of it."""
    each = deployment
    memory: Document = {
        "enable_kv_cache": each.enable_kv_cache,
        "max_cache_size": each.max_cache_bytes or None,
    }
    scheduling: Document = {
        "enable_dynamic_batching": each.enable_dynamic_batching,
        "max_batch_size": each.max_batch_size or None,
    }
    return {
        "deployment": {
            "model": each.model.short,
            "hardware": {
                "preferred": each.hardware[0] if each.hardware else None,
                "fallback": list(each.hardware[1:]),
            },
            "optimization": {
                "quantization": each.quantization,
                "batch_size": each.batch_size or None,
                "max_context": each.max_context or None,
            },
            "api": {"port": each.port, "openai_compatible": each.openai_compatible},
        },
        "performance": {
            "batch_processing": each.batch_processing,
            "parallel_requests": each.parallel_requests or None,
            "memory_optimization": memory,
            "hardware_scheduling": scheduling,
        },
    }


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path, such as `deployment.api.port`."""
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def lines_of(data: bytes, label: str) -> dict[Path, str]:
    """Where each key of a valid document stands, as `label:LINE`."""
    text = data.decode("utf-8-sig")
    return {path: f"{label}:{text.count(chr(10), 0, at) + 1}" for path, at in _keys(text, _skip(text, 0), ())}


def _of(file: _File) -> Deployment:
    said, speed = file.deployment, file.performance
    preferred = said.hardware.preferred
    return Deployment(
        model=ModelName.parse(said.model),
        port=said.api.port,
        hardware=tuple(dict.fromkeys([*([preferred] if preferred else []), *said.hardware.fallback])),
        quantization=said.optimization.quantization,
        batch_size=said.optimization.batch_size or 0,
        max_context=said.optimization.max_context or 0,
        openai_compatible=said.api.openai_compatible,
        batch_processing=speed.batch_processing,
        parallel_requests=speed.parallel_requests or 0,
        enable_kv_cache=speed.memory_optimization.enable_kv_cache,
        max_cache_bytes=int(speed.memory_optimization.max_cache_size or 0),
        enable_dynamic_batching=speed.hardware_scheduling.enable_dynamic_batching,
        max_batch_size=speed.hardware_scheduling.max_batch_size or 0,
    )


def _once(pairs: list[tuple[str, Any]]) -> Document:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return document


def _told(error: ErrorDetails, where: Mapping[Path, str]) -> str:
    path: Path = error["loc"]
    place = _place(path, where)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _names(path[:-1]), 1, 0.5)
        return f"{place}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
    if error["type"] == "missing":
        return f"{place}: is missing"
    if error["type"] == "model_type":
        return f"{place}: Input should be an object"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


def _place(path: Path, where: Mapping[Path, str]) -> str:
    """Such as `production.json:5: deployment.api.port`. A key that is missing has the line of what it is missing in."""
    known = next((where[path[:end]] for end in range(len(path), 0, -1) if path[:end] in where), "")
    return f"{known}: {'.'.join(map(str, path))}" if known else ".".join(map(str, path))


def _names(path: Path) -> list[str]:
    """The keys that may stand at a path."""
    part: Any = _File
    for name in path:
        part = part.model_fields[name].annotation
    return [*part.model_fields]


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _keys(text: str, at: int, path: Path) -> Iterator[tuple[Path, int]]:
    """The path and place of each key of the object that begins here."""
    if text[at] != "{":
        return
    at = _skip(text, at + 1)
    while text[at] != "}":
        begin = at
        name, at = decoder.scanstring(text, at + 1)  # type: ignore[attr-defined]
        at = _skip(text, at)
        yield (*path, name), begin
        yield from _keys(text, at, (*path, name))
        at = _skip(text, json.JSONDecoder().raw_decode(text, at)[1])
