"""What a card looks like in a catalog file: its keys and their bounds."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hutch.core.errors import BadInput
from hutch.core.hardware import KINDS
from hutch.core.names import ModelName, Reference
from hutch.formats import folder_names
from hutch.store.cards import Card, Variant
from hutch.store.wanted import HUGGING_FACE_HOSTS

_Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Name = Annotated[str, Field(min_length=1, max_length=400)]
_Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,59}$")]
_Size = Annotated[int, Field(ge=1, le=1 << 50)]
_Kind = Literal["cpu", "gpu", "npu"]


def _checked_name(text: str) -> str:
    try:
        ModelName.parse(text)
    except BadInput as problem:
        raise ValueError(problem.message) from None
    return text


class Strict(BaseModel):
    """A part of a catalog: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class VariantSchema(Strict):
    """One of `variants`."""

    tag: _Tag
    format: Literal["gguf", "onnx"] = "gguf"
    quantization: _Line | None = None
    devices: Annotated[list[_Kind], Field(min_length=1, max_length=len(KINDS))] | None = None
    pull: _Name | None = None
    folder: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    entry: _Name | None = None
    size_bytes: _Size
    checked: Literal["pulled", "listing", "no"] = "no"

    @field_validator("pull")
    @classmethod
    def _check_pull(cls, value: str) -> str:
        try:
            Reference.parse(value)
        except BadInput as problem:
            hint = "Files, addresses and packages are for entries, which pin what they bring."
            raise ValueError(f"{problem.message}. {hint}") from None
        return value

    @field_validator("entry")
    @classmethod
    def _check_entry(cls, value: str) -> str:
        return _checked_name(value)

    @field_validator("folder")
    @classmethod
    def _check_folder(cls, value: str) -> str:
        try:
            folder_names.check(value, "folder")
        except BadInput as problem:
            raise ValueError(problem.message) from None
        return value

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if (self.pull is None) == (self.entry is None):
            raise ValueError("a variant has either pull or entry")
        if self.format == "onnx" and (self.quantization is None or self.devices is None):
            raise ValueError("a variant in onnx needs quantization and devices")
        is_there = self.pull is not None and Reference.parse(self.pull).name.host in HUGGING_FACE_HOSTS
        if self.folder is not None and not is_there:
            raise ValueError("folder is for repositories of Hugging Face")
        if self.tag in ("gguf", "onnx", "latest"):
            raise ValueError(f"the tag {self.tag!r} means something else")
        return self

    def variant(self) -> Variant:
        """As the store knows it."""
        return Variant(
            tag=self.tag,
            format=self.format,
            quantization=self.quantization or self.tag.upper(),
            devices=tuple(self.devices or ("cpu", "gpu")),
            size_bytes=self.size_bytes,
            checked=self.checked,
            source=self.pull or "",
            folder=self.folder or "",
            entry=ModelName.parse(self.entry) if self.entry else None,
        )


class CardSchema(Strict):
    """One of `models`."""

    name: _Name
    aliases: Annotated[list[_Name], Field(max_length=50)] = Field(default_factory=list)
    publisher: _Line
    title: _Line
    type: Literal["instruct", "base", "reasoning", "code", "embedding"]
    num_parameters: Annotated[int, Field(ge=1, le=10**14)]
    context_length: Annotated[int, Field(ge=1, le=1 << 30)]
    license: _Line
    capabilities: Annotated[
        list[Literal["completion", "embedding", "tools", "thinking", "vision", "insert", "rerank"]],
        Field(min_length=1, max_length=7),
    ]
    kv_bytes_per_token: Annotated[int, Field(ge=0, le=1 << 30)] = 0
    variants: Annotated[list[VariantSchema], Field(min_length=1, max_length=50)]

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return _checked_name(value)

    @field_validator("aliases")
    @classmethod
    def _check_aliases(cls, value: list[str]) -> list[str]:
        return [_checked_name(each) for each in value]

    @field_validator("variants")
    @classmethod
    def _check_tags(cls, value: list[VariantSchema]) -> list[VariantSchema]:
        tags = [each.tag for each in value]
        if twice := [tag for tag in tags if tags.count(tag) > 1]:
            raise ValueError(f"the tag {twice[0]!r} stands twice")
        return value

    def card(self, origin: str) -> Card:
        """As the store knows it."""
        return Card(
            names=tuple(ModelName.parse(each) for each in (self.name, *self.aliases)),
            publisher=self.publisher,
            title=self.title,
            type=self.type,
            num_parameters=self.num_parameters,
            context_length=self.context_length,
            license=self.license,
            capabilities=tuple(self.capabilities),
            kv_bytes_per_token=self.kv_bytes_per_token,
            variants=tuple(each.variant() for each in self.variants),
            origin=origin,
        )


def cleaned(value: Any) -> str:
    """Something of a file as it may stand in an error: one line, not long."""
    text = "".join(each if each.isprintable() else " " for each in str(value))
    return text if len(text) <= 100 else f"{text[:100]}…"
