"""A source: the folder of an ONNX model in a repository of Hugging Face, or of a mirror that HF_ENDPOINT names.

A repository may hold several, each in a folder: the tag says which, and without one the one for the CPU is taken.
"""

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

import httpx2

from hutch import __version__, places
from hutch.core.errors import BadInput, SourceFailed
from hutch.core.models import Progress
from hutch.core.names import DEFAULT_TAG, ModelName, Reference, parse_digest
from hutch.formats import folder_names, genai_config, onnx, onnx_model
from hutch.store.addresses import follow
from hutch.store.blobs import Blobs
from hutch.store.download import MAX_FILE_BYTES, Download, Patience, Remote
from hutch.store.wanted import Fetched, Wanted

PATIENCE = Patience()
_MAX_TREE_BYTES = 16 << 20
_MAX_FILES = 10_000
_REVISION = "main"
_HINT = "Look at the repository's name, and whether it may be read (HF_TOKEN)."


class _File(NamedTuple):
    """A file of the repository. `digest` is known of large ones."""

    path: str
    size_bytes: int
    digest: str | None


class _Repository:
    """A repository, asked over HTTP."""

    def __init__(self, client: httpx2.Client, name: ModelName, blobs: Blobs, *, insecure: bool) -> None:
        endpoint, token = places.hugging_face()
        self._base = f"{endpoint}/{{kind}}{quote(name.namespace)}/{quote(name.model)}"
        self._authorization = f"Bearer {token}" if token else ""
        self._client, self._blobs, self._insecure = client, blobs, insecure

    def files(self) -> tuple[_File, ...]:
        """What is there; empty where there is no such repository, or nobody answers. Raises SourceFailed."""
        url = self._base.format(kind="api/models/") + f"/tree/{_REVISION}?recursive=true"
        headers = {"Accept-Encoding": "identity", "User-Agent": f"hutch/{__version__}"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        try:
            response = follow(
                self._client, url, headers, stall_s=PATIENCE.stall_s, may_be_plain=self._insecure
            )
            with closing(response):
                if response.status_code != 200:
                    return ()  # the registry says it in its own words
                data = bytearray()
                for chunk in response.iter_raw():
                    data += chunk
                    if len(data) > _MAX_TREE_BYTES:
                        raise SourceFailed("the repository's list of files has no end")
        except httpx2.HTTPError as problem:
            raise SourceFailed(f"cannot reach {url.partition('?')[0]}: {problem}", hint=_HINT) from problem
        return _parsed(bytes(data))

    def fetch(self, file: _File) -> Generator[Progress, None, str]:
        """Have a file as a blob; the digest. Raises SourceFailed or NoRoom."""
        if file.digest and self._blobs.is_whole(file.digest, file.size_bytes):
            return file.digest
        remote = Remote(
            self._base.format(kind="") + f"/resolve/{_REVISION}/{quote(file.path)}",
            file.digest,
            max_bytes=file.size_bytes,
            may_be_plain=self._insecure,
            authorization=self._authorization,
        )
        with Download(self._client, remote, self._blobs, PATIENCE) as running:
            yield from running.run()
            if running.partial.size_bytes != file.size_bytes:
                raise SourceFailed(
                    f"{file.path} has another size than the repository says", hint="Try again."
                )
            return running.partial.become_blob(file.digest)


def fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    """Download the files that the model needs; nothing where the repository has no ONNX model. Raises SourceFailed or NoRoom."""
    name = Reference.parse(wanted.location).name
    with httpx2.Client() as client:
        repository = _Repository(client, name, blobs, insecure=insecure)
        files = {file.path: file for file in repository.files()}
        root = chosen(files, name.tag, wanted.folder)
        if root is None:
            return Fetched()
        inside = {
            str(PurePosixPath(path).relative_to(root)): file
            for path, file in files.items()
            if PurePosixPath(path).is_relative_to(root)
        }
        digests: dict[str, str] = {}
        wave: Sequence[str] = [each for each in onnx_model.SIDE_FILES if each in inside]
        while wave:
            for each in wave:
                digests[each] = yield from repository.fetch(inside[each])
            paths = {each: blobs.path(digest) for each, digest in digests.items()}
            wave = [each for each in _needed(paths) if each in inside and each not in digests]
        return Fetched(files=tuple(digests.items()))


def chosen(paths: Iterable[str], tag: str, folder: str = "") -> PurePosixPath | None:
    """The folder of the model that is meant; None where there is no ONNX model. Raises BadInput where several may be.

    `folder` says which, where the catalog knows it. Raises SourceFailed where no model is there.
    """
    known = list(paths)
    if folder and not known:
        raise SourceFailed("the repository is not there, or may not be read", hint=_HINT)
    if folder and f"{folder}/{genai_config.NAME}" not in known:
        hint = "The repository has changed, or the catalog is wrong: pull by the repository's own name."
        raise SourceFailed(f"the repository has no ONNX model in {folder}", hint=hint)
    if folder:
        return PurePosixPath(folder)
    if any(path.lower().endswith(".gguf") for path in known):
        return None
    roots = sorted(
        PurePosixPath(path).parent for path in known if PurePosixPath(path).name == genai_config.NAME
    )
    if tag != DEFAULT_TAG:
        named = [root for root in roots if root.name.casefold() == tag.casefold()]
        if len(named) == 1:
            return named[0]
    elif len(roots) == 1:
        return roots[0]
    else:
        for_cpu = [root for root in roots if any(part.lower().startswith("cpu") for part in root.parts)]
        if len(for_cpu) == 1:
            return for_cpu[0]
    if roots:
        tags = ", ".join(root.name or DEFAULT_TAG for root in roots[:12])
        raise BadInput(f"the repository has {len(roots)} ONNX models", hint=f"Name one by its tag: {tags}.")
    return None


def _needed(files: Mapping[str, Path]) -> list[str]:
    """Which files those that are here ask for."""
    config = genai_config.read(files[genai_config.NAME])
    found = list(config.filenames)
    for name in config.filenames:
        if name.endswith(".onnx") and name in files:
            found += onnx_model.data_names(name, onnx.read(files[name], name))
    return found


def _parsed(data: bytes) -> tuple[_File, ...]:
    try:
        entries = json.loads(data)
        files = [_file(each) for each in entries if each["type"] == "file"]
    except (ValueError, KeyError, TypeError, RecursionError, BadInput):
        raise SourceFailed("the repository's list of files cannot be read", hint="Try again later.") from None
    if len(files) > _MAX_FILES:
        raise SourceFailed(f"the repository has more than {_MAX_FILES} files")
    return tuple(files)


def _file(entry: Mapping[str, object]) -> _File:
    path, size_bytes, lfs = entry["path"], entry["size"], entry.get("lfs")
    if not isinstance(path, str) or type(size_bytes) is not int or not 0 <= size_bytes <= MAX_FILE_BYTES:
        raise ValueError
    folder_names.check(path, "the repository")
    digest = parse_digest(f"sha256:{lfs['oid']}") if isinstance(lfs, dict) else None
    return _File(path, size_bytes, digest)
