"""A push: every blob that a registry lacks, in chunks, and the manifest last. What is there already is not sent again."""

import contextlib
import re
from collections.abc import Generator
from contextlib import closing
from types import MappingProxyType
from urllib.parse import urlencode

import httpx2

from hutch.core.errors import BadInput, FormatError, SourceFailed
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.store import manifests
from hutch.store.blobs import Blobs, exhaust
from hutch.store.download import RETRIED, pause
from hutch.store.manifests import Layer
from hutch.store.registry import pull
from hutch.store.registry.client import Answer, Away, Registry, patiently, read

CHUNK_BYTES = 16 << 20
_MAX_CHUNK_BYTES = 256 << 20
_MAX_ANSWER_BYTES = 1 << 20
_BYTES = MappingProxyType({"Content-Type": "application/octet-stream"})
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")


class _TryAgain(Exception):
    """A chunk failed, and the next try may not."""


def send(blobs: Blobs, data: bytes, name: ModelName, *, insecure: bool) -> Generator[Progress, None, None]:
    """Send a model's blobs and its manifest. Raises SourceFailed, or FormatError where a blob is missing."""
    manifest = manifests.parse(data, name.short)
    with httpx2.Client() as client:
        registry = Registry(client, name, pull.PATIENCE, insecure=insecure)
        for layer in pull.unique(manifest):
            if blobs.size_bytes(layer.digest) != layer.size_bytes:
                raise FormatError(
                    f"{blobs.path(layer.digest)} is missing or has another size",
                    hint="Pull or create the model again.",
                )
            yield from _blob(registry, layer, blobs)
        yield Progress("pushing manifest")
        kind, path = {"Content-Type": manifests.media_type(data)}, f"manifests/{name.tag}"
        answer = yield from patiently(registry, lambda: registry.send("PUT", path, kind, data))
        _expect(registry, answer, (200, 201, 202), "manifest")


def _blob(registry: Registry, layer: Layer, blobs: Blobs) -> Generator[Progress, None, None]:
    status = f"pushing {layer.digest.removeprefix('sha256:')[:12]}"
    yield Progress(status, layer.digest, layer.size_bytes, 0)
    found = yield from patiently(registry, lambda: registry.get(f"blobs/{layer.digest}", {}, "HEAD"))
    _expect(registry, found, (200, 404), "blob")
    if found.status == 404:
        start = f"blobs/uploads/{_mount(registry, layer)}"
        answer = yield from patiently(registry, lambda: registry.send("POST", start, {}))
        _expect(registry, answer, (201, 202), "upload")
        if answer.status == 202:  # 201: another repository of the registry has it
            for sent_bytes in (sending := _Upload(registry, layer, blobs, answer)).chunks():
                yield Progress(status, layer.digest, layer.size_bytes, sent_bytes)
            end = _with_digest(sending.location, layer.digest)
            answer = yield from patiently(registry, lambda: registry.send("PUT", end, dict(_BYTES)))
            _expect(registry, answer, (201, 202, 204), "blob")
    yield Progress(status, layer.digest, layer.size_bytes, layer.size_bytes)


class _Upload:
    """An upload of one blob that the registry has begun. Where a chunk fails, the registry says how far it is."""

    def __init__(self, registry: Registry, layer: Layer, blobs: Blobs, begun: Answer) -> None:
        self.location = ""
        self._registry = registry
        self._layer = layer
        self._path = blobs.path(layer.digest)
        self._sent_bytes = 0
        self._take_location(begun)
        smallest = begun.headers.get("OCI-Chunk-Min-Length", "")
        wanted_bytes = (
            int(smallest) if smallest.isascii() and smallest.isdigit() and len(smallest) < 12 else 0
        )
        self._chunk_bytes = min(max(CHUNK_BYTES, wanted_bytes), _MAX_CHUNK_BYTES)

    def chunks(self) -> Generator[int, None, None]:
        """Send them, telling how many bytes are there. Raises SourceFailed."""
        patience, failed = self._registry.patience, 0
        with self._path.open("rb") as file:
            while self._sent_bytes < self._layer.size_bytes:
                file.seek(self._sent_bytes)
                try:
                    self._send(file.read(self._chunk_bytes))
                except (_TryAgain, Away, httpx2.TransportError) as problem:
                    failed += 1
                    why = str(problem) or type(problem).__name__
                    if failed >= patience.tries:
                        raise SourceFailed(
                            f"{self._registry.host}: {why} ({failed} times)",
                            hint="Push again: blobs that have arrived are kept.",
                        ) from problem
                    exhaust(pause(patience.pause_s * 2 ** (failed - 1)))
                    answer = exhaust(patiently(self._registry, self._ask))
                    _expect(self._registry, answer, (200, 202, 204), "upload")
                    self._take_location(answer)
                    last = _last(answer) or -1
                    self._sent_bytes = min(last + 1, self._layer.size_bytes)
                else:
                    failed = 0
                yield self._sent_bytes

    def _ask(self) -> httpx2.Response:
        return self._registry.send("GET", self.location, {})

    def _send(self, chunk: bytes) -> None:
        if not chunk:
            raise FormatError(f"{self._path} became shorter while it was sent")
        last = self._sent_bytes + len(chunk) - 1
        span = {"Content-Range": f"{self._sent_bytes}-{last}"}
        with closing(self._registry.send("PATCH", self.location, {**_BYTES, **span}, chunk)) as response:
            answer = read(response, _MAX_ANSWER_BYTES, self._registry.patience.stall_s)
        if answer.status in RETRIED:
            raise _TryAgain(f"the registry answered {answer.status}")
        _expect(self._registry, answer, (200, 201, 202, 204), "chunk")
        if _last(answer) not in (None, last):
            raise SourceFailed(f"{self._registry.host} took another range than was sent")
        self._take_location(answer)
        self._sent_bytes = last + 1

    def _take_location(self, answer: Answer) -> None:
        self.location = answer.headers.get("Location", self.location)
        if not self.location:
            raise SourceFailed(f"{self._registry.host} does not say where to send a blob")


def _last(answer: Answer) -> int | None:
    """The last byte that a registry says it has. It says 0 where it has none, too."""
    match = _RANGE.fullmatch(answer.headers.get("Range", ""))
    return int(match[1]) if match else None


def _expect(registry: Registry, answer: Answer, statuses: tuple[int, ...], what: str) -> None:
    """Raise SourceFailed where the answer is another than was hoped for."""
    if answer.status not in statuses:
        raise registry.failed(answer.status, f"{what} that is pushed", answer.body)


def _mount(registry: Registry, layer: Layer) -> str:
    """Where the blob may be already: the repository of the model that it was taken from."""
    with contextlib.suppress(BadInput):
        origin = ModelName.parse(layer.origin)
        if origin.host == registry.host:
            repository = f"{origin.namespace}/{origin.model}"
            return f"?{urlencode([('mount', layer.digest), ('from', repository)])}"
    return ""


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}{urlencode([('digest', digest)])}"
