"""The store of models: names, and what they stand for.

Synchronous: a server runs it in threads, the command line as it is. Readers take no lock.
"""

import importlib
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from hutch import places
from hutch.core.errors import BadInput, FormatError, NotFound, SourceFailed
from hutch.core.models import Model, Progress, StoredModel
from hutch.core.names import ModelName, parse_digest
from hutch.store import (
    jobs,
    kept,
    layout,
    listing,
    manifests,
    model,
    onnx_folder,
    pull,
    recipe,
    sweep,
    weights,
)
from hutch.store.blobs import Blobs, exhaust
from hutch.store.jobs import Job
from hutch.store.manifests import Manifest
from hutch.store.recipe import Draft, Recipe
from hutch.store.sweep import Leftover
from hutch.store.wanted import NAMED, Catalog

_log = logging.getLogger(__name__)


class ModelStore:
    """The models of one folder, which other processes may share: another Hutch, or Ollama. `catalog` reads the catalog anew."""

    def __init__(self, root: Path, catalog: Callable[[], Catalog]) -> None:
        self.root = root
        self.blobs = Blobs(root)
        self.catalog = catalog
        self.broken: set[str] = set()  # what is wrong with manifests, as the last listing found them

    def list(self) -> list[StoredModel]:
        """Every model that can be told about, newest first. The log is told once of each that cannot be read."""
        found = listing.read(self.root)
        broken = {problem.message for problem in found.broken}
        for message in sorted(broken - self.broken):
            _log.warning("%s", message)
        self.broken = broken
        return found.models

    def open(self, name: ModelName) -> Model:
        """Everything about a model. Raises NotFound, or FormatError where it is damaged."""
        known, manifest = read(self.root, name)
        return model.read(self.blobs, listing.stored(self.root, known, manifest), manifest)

    def stamp(self, name: ModelName) -> object:
        """A value that changes when the name gets another content. Raises NotFound."""
        known = manifests.find(self.root, name)
        if known is None:
            raise not_found(name)
        info = layout.manifest_path(self.root, known).stat()
        return info.st_mtime_ns, info.st_ino, info.st_size

    def pull(
        self,
        name: ModelName | None,
        source: str | None = None,
        *,
        replace: bool = False,
        insecure: bool = False,
        digest: str | None = None,
    ) -> Generator[Progress, None, ModelName]:
        """Fetch a model by its name, or from a source; the name may then be the file's. Returns the name.

        `digest` pins the manifest. What a registry has under a name replaces what the name stands for here.
        """
        yield Progress("pulling manifest")
        chosen, wanted = pull.choose(name, source, self.catalog, digest)
        yield from map(Progress, wanted.remarks)
        replace = replace or wanted.kind in NAMED
        known = manifests.find(self.root, chosen) or chosen
        with Job(self.root) as job:
            yield from job.begin()
            if not replace and pull.is_unknown(wanted):
                jobs.refuse_taken(self.root, known)
            if not replace and jobs.has_weights(self.root, known, wanted.digest):
                yield Progress("verifying sha256 digest")
                if self.blobs.is_whole(wanted.digest or "", wanted.size_bytes):
                    yield Progress("success")
                    return known
            data = yield from pull.into(self.blobs, wanted, job.created, insecure=insecure)
            yield Progress("writing manifest")
            job.name(known, data, replace=replace)
        if job.has_swept:
            yield Progress("removing unused layers")
        yield Progress("success")
        return known

    def push(self, name: ModelName, *, insecure: bool = False) -> Generator[Progress, None, None]:
        """Send a model to the registry that its name says. Raises NotFound, FormatError or SourceFailed."""
        yield Progress("retrieving manifest")
        known, _ = read(self.root, name)
        data = manifests.read_bytes(self.root, known)
        send = importlib.import_module("hutch.store.registry.push").send  # HTTP, where it is needed
        with Job(self.root) as job:  # no blob is swept away meanwhile
            yield from job.begin()
            yield from send(self.blobs, data, name, insecure=insecure)
        yield Progress("success")

    def create(self, name: ModelName, wanted: Recipe) -> Generator[Progress, None, None]:
        """Make a model from another one, from blobs, or from both, and give it a name, taken or not."""
        recipe.check(wanted)
        recipe.check_blobs(wanted, self.blobs)
        with Job(self.root) as job:
            yield from job.begin()
            draft = Draft([], {}, job.created)
            if wanted.from_model is not None:
                recipe.from_base(draft, self.blobs, *read(self.root, wanted.from_model))
            if onnx_folder.is_meant(name for name, _ in wanted.files):
                yield Progress("checking ONNX")
                onnx_folder.take(draft, self.blobs, wanted.files)
            elif wanted.files:
                files = yield from weights.prepared(draft, self.blobs, wanted.files)
                recipe.from_files(draft, self.blobs, files)
            adapters = yield from weights.adapters(draft, self.blobs, wanted.adapters)
            recipe.beside(draft, self.blobs, "adapter", adapters)
            if wanted.drafts:
                drafts = yield from weights.prepared(draft, self.blobs, wanted.drafts)
                recipe.beside(draft, self.blobs, "draft", drafts)
            if wanted.quantize:
                yield from weights.quantized(draft, self.blobs, wanted.quantize)
            if wanted.draft_quantize:
                yield from weights.quantized(draft, self.blobs, wanted.draft_quantize, "draft")
            for layer in draft.layers:
                yield recipe.told(draft, layer)
            yield from recipe.said_over(draft, wanted, self.blobs)
            data = recipe.finish(draft, self.blobs)
            yield Progress("writing manifest")
            job.name(name, data, replace=True)
        yield Progress("success")

    def import_blob(self, chunks: Iterable[bytes], digest: str) -> bool:
        """Take in a blob, and say whether it was new. Raises BadInput where the bytes are others."""
        with Job(self.root) as job:
            exhaust(job.begin())
            try:
                return self.blobs.take(chunks, parse_digest(digest)).created
            except SourceFailed as problem:
                raise BadInput(problem.message, hint="Send the bytes that the digest was made of.") from None

    def has_blob(self, digest: str) -> bool:
        """Whether there is such a blob."""
        return self.blobs.size_bytes(parse_digest(digest)) is not None

    def copy(self, source: ModelName, destination: ModelName) -> None:
        """Give a model a second name, in place of whatever that name stood for."""
        with jobs.naming(self.root):
            known, _ = read(self.root, source, quote='"')
            target = manifests.find(self.root, destination) or destination
            if target == known:
                return
            replaced = jobs.readable(self.root, target)
            jobs.write(self.root, target, manifests.read_bytes(self.root, known))
        if replaced is not None:
            jobs.sweep_blobs(self.root, replaced.digests)

    def delete(self, name: ModelName) -> None:
        """Take a name away, and the blobs that no other name needs."""
        with jobs.naming(self.root):
            known = manifests.find(self.root, name)
            if known is None:
                raise not_found(name)
            manifest = jobs.readable(self.root, known)
            manifests.remove(self.root, known)
        if manifest is not None:
            jobs.sweep_blobs(self.root, manifest.digests)
            with suppress(FormatError):  # of another one: prune tells
                kept.forget(places.kept_states(), self.root, manifest.digest)

    def prune_plan(self) -> Sequence[Leftover]:
        """What `prune` would remove. Raises Conflict where a manifest cannot be read."""
        return sweep.plan(self.root)

    def prune(self, listed: Iterable[Leftover]) -> Sequence[Leftover]:
        """Remove what `prune_plan` listed and still no name needs. Raises Conflict while a model is pulled or created."""
        return jobs.prune(self.root, listed)


def not_found(name: ModelName, quote: str = "'") -> NotFound:
    """The error for a name that stands for nothing. Ollama sets the name in quotes that depend on what it is wanted for."""
    short = name.short.removesuffix(":latest")
    is_cloud = short.endswith(("-cloud", ":cloud"))
    hint = "Hutch has no cloud." if is_cloud else f"Fetch it with `hutch pull {short}`."
    return NotFound(f"model {quote}{short}{quote} not found", hint=hint)


def read(root: Path, name: ModelName, quote: str = "'") -> tuple[ModelName, Manifest]:
    """The stored name that is meant, and what it stands for. Raises NotFound or FormatError."""
    known = manifests.find(root, name)
    if known is None:
        raise not_found(name, quote)
    return known, manifests.read(root, known)
