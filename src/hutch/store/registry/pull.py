"""A pull from a registry: the manifest, every blob that it names, and a look at what they are. The manifest's bytes stay as they came."""

import hashlib
from collections.abc import Generator

import httpx2

from hutch.core.errors import BadInput, NotBuilt, SourceFailed
from hutch.core.models import Progress
from hutch.core.names import Reference
from hutch.formats import gguf, gguf_model, onnx_model
from hutch.store import config, download, manifests, model, room
from hutch.store.blobs import Blobs, digest_of
from hutch.store.download import Patience
from hutch.store.manifests import Layer, Manifest
from hutch.store.pace import Pace
from hutch.store.registry import blob, parts
from hutch.store.registry.client import Registry, patiently
from hutch.store.registry.parts import Split

PATIENCE = Patience(tries=6)
SPLIT = Split()
_GGUF_KINDS = ("model", "projector", "adapter", "draft")
_TEXT_KINDS = ("template", "system", "license", "params", "messages")


def fetch(
    reference: Reference, blobs: Blobs, created: set[str], *, insecure: bool
) -> Generator[Progress, None, bytes]:
    """Have every blob of the model in the store, and return the manifest's bytes. `created` takes the new ones."""
    with httpx2.Client() as client:
        registry = Registry(client, reference.name, PATIENCE, insecure=insecure)
        data = yield from _manifest(registry, reference)
        manifest = _checked(data, registry.host)
        missing = []
        for layer in unique(manifest):
            if not (yield from _is_whole(layer, blobs)):
                missing.append(layer)  # noqa: PERF401  # a comprehension cannot yield
        _ensure_room(blobs, missing)
        for layer in missing:
            yield from blob.have(registry, layer, blobs, SPLIT)
    created.update(layer.digest for layer in missing)  # all or none: what has arrived waits for the next try
    yield Progress("verifying sha256 digest")
    for layer in manifest.layers:
        if layer.kind in _GGUF_KINDS:
            header = gguf.read(blobs.path(layer.digest))
            if layer.kind == "model" and gguf.split_count(header) <= 1:
                gguf_model.check_has_tokenizer(header.metadata)
    if files := model.onnx_files(blobs, manifest):
        onnx_model.read(dict(files))
    config.read(blobs.root, manifest)
    return data


def unique(manifest: Manifest) -> list[Layer]:
    """Each blob of a model once, the config last."""
    return list({layer.digest: layer for layer in (*manifest.layers, manifest.config)}.values())


def _manifest(registry: Registry, reference: Reference) -> Generator[Progress, None, bytes]:
    path = f"manifests/{reference.digest or reference.name.tag}"
    accept = {"Accept": ", ".join(filter(None, manifests.MANIFEST_TYPES))}
    answer = yield from patiently(registry, lambda: registry.get(path, accept), manifests.MAX_MANIFEST_BYTES)
    if answer.status != 200:
        raise registry.failed(answer.status, "manifest", answer.body)
    found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    if reference.digest not in (None, found):
        raise SourceFailed(
            f"digest mismatch: wanted the manifest {reference.digest}, got {found}",
            hint="Ask whoever runs the registry.",
        )
    return answer.body


def _checked(data: bytes, host: str) -> Manifest:
    """Read the manifest as what a stranger wrote. Raises SourceFailed, or NotBuilt for what could not be run."""
    try:
        manifest = manifests.parse(data, f"the manifest from {host}")
    except BadInput as problem:
        hint = "This is no model of Ollama's kind, or its registry is broken."
        raise SourceFailed(problem.message, hint=hint) from None
    kinds = {layer.kind for layer in manifest.layers}
    if "tensor" in kinds:
        raise NotBuilt("models in single tensors are not supported", hint="Choose a tag with a GGUF file.")
    if not kinds & {"model", manifests.ONNX_TYPE}:
        raise SourceFailed(f"the manifest from {host} names no weights", hint="This is no model to be run.")
    for layer in unique(manifest):
        limit_bytes = download.MAX_FILE_BYTES
        if layer.kind in _TEXT_KINDS:
            limit_bytes = model.MAX_TEXT_BYTES
        elif layer is manifest.config:
            limit_bytes = config.MAX_CONFIG_BYTES
        if layer.size_bytes > limit_bytes:
            size = room.readable(layer.size_bytes)
            raise SourceFailed(f"the manifest from {host} wants a {layer.kind} of {size}")
    return manifest


def _is_whole(layer: Layer, blobs: Blobs) -> Generator[Progress, None, bool]:
    """Whether a blob is here already. All of it is read: a damaged one is fetched again."""
    if blobs.size_bytes(layer.digest) != layer.size_bytes:
        return False
    status, pace = f"pulling {layer.digest.removeprefix('sha256:')[:12]}", Pace()
    reading = digest_of(blobs.path(layer.digest))
    while True:
        try:
            read_bytes = next(reading)
        except StopIteration as end:
            return bool(end.value == layer.digest)
        except FileNotFoundError:
            return False
        if pace.is_due() or read_bytes == layer.size_bytes:
            yield Progress(status, layer.digest, layer.size_bytes, read_bytes)


def _ensure_room(blobs: Blobs, missing: list[Layer]) -> None:
    """Raise NoRoom before the first byte, where the last one would not fit."""
    needed_bytes = 0
    for layer in missing:
        here = parts.noted(parts.partial_path(blobs, layer.digest), layer.size_bytes)
        needed_bytes += layer.size_bytes - sum(part.completed_bytes for part in here)
    with room.guarded(blobs.root):
        (blobs.root / "blobs").mkdir(parents=True, exist_ok=True)
    room.ensure(blobs.root / "blobs", needed_bytes)
