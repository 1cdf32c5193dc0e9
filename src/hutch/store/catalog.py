"""Catalog files: names of models, where to get each, and cards. Ours come with the package; a company's and the user's go over them."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from hutch.core.errors import BadInput, Damaged
from hutch.core.names import ModelName
from hutch.core.options import OPTION_TYPES, typed_option
from hutch.store import layout
from hutch.store.card_schema import CardSchema, Strict, cleaned
from hutch.store.cards import Card
from hutch.store.toml_lines import line_of
from hutch.store.wanted import Catalog, Member, Wanted

_OURS = (Path(__file__).with_name("catalog.toml"), Path(__file__).with_name("library.toml"))
MAX_CATALOG_BYTES = 4 << 20
_CARDS = "models"  # the key of the list of cards; every other key is the name of an entry
_MAX_CARDS = 10_000
_KINDS = ("pypi", "pypi-folder", "pypi-onnx", "https")
_HINT = "Correct the file, or take it out of the way."

_Text = Annotated[str, Field(min_length=1, max_length=4096)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=1, le=1 << 50)]


class Layer(NamedTuple):
    """What one catalog file says."""

    entries: dict[ModelName, Wanted]
    cards: tuple[Card, ...] = ()

    @property
    def names(self) -> set[ModelName]:
        """Every name that it gives a meaning, folded."""
        return {name.folded for name in (*self.entries, *(n for card in self.cards for n in card.names))}


def load(users: Path | None = None, others: Iterable[Layer] = ()) -> Catalog:
    """Read our catalog, with others over it in their order, and the user's file over all. Raises Damaged."""
    merged = Layer({})
    for path in _OURS:
        merged = _over(merged, read(path, is_ours=True))
    for layer in others:
        merged = _over(merged, layer)
    if users is not None and users.is_file():
        merged = _over(merged, read(users))
    return Catalog(*merged)


def read(path: Path, *, is_ours: bool = False) -> Layer:
    """Read one file. Raises Damaged."""
    try:
        data = layout.read_bounded(path, MAX_CATALOG_BYTES)
    except OSError as problem:
        hint = "Look at the setting catalog." if not is_ours else "Install Hutch again."
        raise Damaged(f"{path}: {problem.strerror}", hint=hint) from None
    return parse(data, str(path), is_ours=is_ours)


def parse(data: bytes, where: str, *, is_ours: bool = False) -> Layer:
    """Read the text of a catalog. `where` is the file or address that errors name. Raises Damaged."""
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as problem:
        raise Damaged(f"{where}: {problem}", hint=_HINT) from None
    listed = document.pop(_CARDS, [])
    if not isinstance(listed, list) or len(listed) > _MAX_CARDS:
        raise _wrong(text, where, (_CARDS,), f"{_CARDS} must be a list of at most {_MAX_CARDS} tables")
    cards: list[Card] = []
    taken: set[ModelName] = set()
    for place, value in enumerate(listed):
        card = _card(text, where, place, value, "" if is_ours else where)
        for name in card.names:
            if name.folded in taken:
                raise _wrong(text, where, (_CARDS, place), f"the name {name.short} stands twice")
            taken.add(name.folded)
        cards.append(card)
    entries = dict(_entry(text, where, name, value) for name, value in document.items())
    return Layer(entries, tuple(cards))


def _over(below: Layer, above: Layer) -> Layer:
    """Both together: a name that is said above means nothing below any more, but for entries that a card above is of."""
    said = above.names
    used = {each.entry for card in above.cards for each in card.variants}
    entries = {name: old for name, old in below.entries.items() if name in used or name.folded not in said}
    entries |= above.entries
    cards = [_without(card, said) for card in below.cards]
    kept = tuple(card for card in cards if card is not None)
    for card in above.cards:
        for variant in card.variants:
            if variant.entry is not None and variant.entry not in entries:
                where = f"{card.origin}: " if card.origin else ""
                raise Damaged(
                    f"{where}{card.names[0].short}: {variant.tag}: there is no entry {variant.entry.short}",
                    hint=_HINT,
                )
    return Layer(entries, (*above.cards, *kept))


def _without(card: Card, said: set[ModelName]) -> Card | None:
    """A card of below, without names and pinned variants that mean something else now; None where nothing is left."""
    names = tuple(name for name in card.names if name.folded not in said)
    variants = tuple(each for each in card.variants if each.entry is None or each.entry.folded not in said)
    return replace(card, names=names, variants=variants) if names and variants else None


class _Member(Strict):
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


class _Said(Strict):
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


def _entry(text: str, where: str, name: str, value: Any) -> tuple[ModelName, Wanted]:
    try:
        return ModelName.parse(name), _ENTRY.validate_python(value).wanted()
    except BadInput as problem:
        raise _wrong(text, where, (name,), problem.message) from None
    except ValidationError as problem:
        place, what = _first(problem)
        raise _wrong(text, where, (name, *place), f'["{cleaned(name)}"] {what}') from None


def _card(text: str, where: str, place: int, value: Any, origin: str) -> Card:
    try:
        return CardSchema.model_validate(value).card(origin)
    except ValidationError as problem:
        inside, what = _first(problem)
        named = cleaned(value["name"]) if isinstance(value, dict) and "name" in value else str(place + 1)
        raise _wrong(text, where, (_CARDS, place, *inside), f"model {named}: {what}") from None


def _first(problem: ValidationError) -> tuple[list[str | int], str]:
    """Where the first thing is that is wrong, and what it is."""
    first = problem.errors(include_url=False)[0]
    place = [part for part in first["loc"] if part not in _KINDS]
    named = ".".join(cleaned(part) for part in place)
    what = cleaned(first["msg"].removeprefix("Value error, "))
    return place, f"{named}: {what}" if named else what


def _wrong(text: str, where: str, place: Sequence[str | int], what: str) -> Damaged:
    return Damaged(f"{where}: line {line_of(text, place)}: {what}", hint=_HINT)
