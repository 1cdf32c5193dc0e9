"""One download over HTTP into a partial file: it goes on where it stopped, and believes no length it has not counted."""

import ipaddress
import re
import socket
import time
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx2

from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.store import room
from hutch.store.blobs import Blobs
from hutch.store.pace import Pace
from hutch.store.partial import Partial

MAX_FILE_BYTES = 1 << 41  # 2 TiB: no small model is larger
MAX_REDIRECTS = 5
ENOUGH_PROGRESS_BYTES = 1 << 20  # a try that brought so much does not count as one

_CHUNK_BYTES = 1 << 18
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_HINT = "Try again: what has arrived is kept."


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server, and how often to ask again. The pause doubles after each failed try."""

    stall_s: float = 30.0
    tries: int = 5
    pause_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Remote:
    """A file behind an address. `reserve_bytes` is the room that is needed beyond the file itself."""

    url: str
    digest: str | None = None
    max_bytes: int = MAX_FILE_BYTES
    reserve_bytes: int = 0
    may_be_plain: bool = False  # http, from its first address on


class _TryAgain(Exception):
    """A try failed, and the next may not."""


class Download:
    """A download, and its partial file, which is locked until the context is left."""

    def __init__(self, client: httpx2.Client, remote: Remote, blobs: Blobs, patience: Patience) -> None:
        self._client = client
        self._remote = remote
        self._blobs = blobs
        self._patience = patience
        self._total: int | None = None
        self._validator = ""  # what says that the rest belongs to the same bytes
        self._partial: Partial | None = None
        self._response: httpx2.Response | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_response()
        if self._partial is not None:
            self._partial.__exit__(kind, problem, trace)

    @property
    def partial(self) -> Partial:
        """Where the bytes are."""
        assert self._partial is not None  # noqa: S101
        return self._partial

    def run(self) -> Generator[Progress, None, None]:
        """Download to the end, telling how far it is. Raises SourceFailed or NoRoom."""
        if self._remote.digest is not None:
            self._partial = self._blobs.partial(self._remote.digest)
            yield from self._partial.open()
            if self._partial.digest == self._remote.digest:
                return
        resumed = self._partial is not None and self._partial.size_bytes > 0
        yield from self._until_complete()
        if resumed and self.partial.digest != self._remote.digest:
            self.partial.cut(0)  # what an earlier try left was not the beginning of this file
            yield from self._until_complete()

    def _until_complete(self) -> Generator[Progress, None, None]:
        failed = 0
        while True:
            before_bytes = self._partial.size_bytes if self._partial else 0
            try:
                yield from self._try()
            except (_TryAgain, httpx2.TransportError) as problem:
                gained_bytes = (self._partial.size_bytes if self._partial else 0) - before_bytes
                failed = 1 if gained_bytes >= ENOUGH_PROGRESS_BYTES else failed + 1
                why = str(problem) or type(problem).__name__
                if failed >= self._patience.tries:
                    raise SourceFailed(f"{self._shown}: {why} ({failed} times)", hint=_HINT) from problem
            except httpx2.HTTPError as problem:
                raise SourceFailed(f"{self._shown}: {problem}") from problem
            else:
                return
            finally:
                self._close_response()
            yield from _pause(self._patience.pause_s * 2 ** (failed - 1))

    def _try(self) -> Generator[Progress, None, None]:
        self._response = self._ask()
        if self._response.status_code in _RETRIED:
            raise _TryAgain(f"the server answered {self._response.status_code}")
        if self._partial is None:  # the first answer tells what bytes these are
            self._begin(self._response)
            yield from self.partial.open()
            if self.partial.size_bytes:
                self._close_response()
                self._response = self._ask()
        if self._take_up(self._response):
            yield from self._receive(self._response)

    def _begin(self, response: httpx2.Response) -> None:
        etag = response.headers.get("ETag", "")
        self._validator = "" if etag.startswith("W/") else etag
        if response.status_code == 200 and self._validator:
            self._partial = self._blobs.keyed(f"{self._remote.url}\n{self._validator}")
        else:
            self._partial = self._blobs.incoming()

    def _ask(self) -> httpx2.Response:
        headers = {"Accept-Encoding": "identity"}
        if self._partial is not None and self._partial.size_bytes:
            headers["Range"] = f"bytes={self._partial.size_bytes}-"
            if self._validator:
                headers["If-Range"] = self._validator
        return follow(self._client, self._remote, headers, self._patience.stall_s)

    def _take_up(self, response: httpx2.Response) -> bool:
        """Find where these bytes belong, and say whether any are to come. Raises SourceFailed or _TryAgain."""
        status, partial = response.status_code, self.partial
        if status == 416 and partial.size_bytes:
            if response.headers.get("Content-Range") == f"bytes */{partial.size_bytes}":
                return False
            partial.cut(0)
            raise _TryAgain("the server has fewer bytes than had arrived")
        if status not in (200, 206) or (status == 206 and not partial.size_bytes):
            hint = "Check the address, and what may be read there." if 400 <= status < 500 else ""
            raise SourceFailed(f"{self._shown}: the server answered {status}", hint=hint)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceFailed(f"{self._shown}: the server packs what was asked for as it is")
        if status == 206:
            self._check_range(response)
        else:
            partial.cut(0)  # it does not do ranges, or the file is another now
            self._total = _content_length(response)
        if (self._total or 0) > self._remote.max_bytes:
            raise SourceFailed(f"{self._shown}: {room.readable(self._total or 0)} is more than expected")
        partial.needed_bytes = (
            (self._total or partial.size_bytes) - partial.size_bytes + self._remote.reserve_bytes
        )
        room.ensure(partial.path.parent, partial.needed_bytes)
        return True

    def _check_range(self, response: httpx2.Response) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start, end, total = map(int, match.groups()) if match else (-1, -1, -1)
        if start != self.partial.size_bytes or end + 1 != total or self._total not in (None, total):
            self.partial.keep = False
            raise SourceFailed(f"{self._shown}: the server sent another range than was asked for")
        self._total = total

    def _receive(self, response: httpx2.Response) -> Generator[Progress, None, None]:
        partial, pace = self.partial, Pace()
        for chunk in response.iter_raw(_CHUNK_BYTES):
            partial.write(chunk)
            if partial.size_bytes > (self._remote.max_bytes if self._total is None else self._total):
                partial.keep = False
                raise SourceFailed(f"{self._shown}: the server sent more than it announced")
            if pace.is_due():
                yield self._progress()
        if self._total is not None and partial.size_bytes < self._total:
            raise _TryAgain("the server sent less than it announced")
        self._total = partial.size_bytes
        yield self._progress()

    def _progress(self) -> Progress:
        digest = self._remote.digest
        what = digest.removeprefix("sha256:")[:12] if digest else PurePosixPath(self._shown).name
        return Progress(f"pulling {what}", digest, self._total, self.partial.size_bytes)

    @property
    def _shown(self) -> str:
        return without_secrets(self._remote.url)

    def _close_response(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def follow(client: httpx2.Client, remote: Remote, headers: dict[str, str], stall_s: float) -> httpx2.Response:
    """Ask for a file, following redirects that stay as safe as the address was. The answer is still to be read."""
    url = remote.url
    began_public = _is_public(url)
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and remote.may_be_plain):
            raise SourceFailed(f"{without_secrets(url)} is not https", hint="Use an https address.")
        if began_public and not _is_public(url):
            raise SourceFailed(f"{without_secrets(remote.url)} leads to an address inside a private network")
        request = client.build_request("GET", url, headers=headers, timeout=httpx2.Timeout(stall_s))
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if began_public:
                _check_peer(response, remote)
            if not response.has_redirect_location:
                return response
            target = urljoin(url, response.headers["Location"])
            if parts.scheme == "https" and urlsplit(target).scheme != "https":
                raise SourceFailed(f"{without_secrets(remote.url)} leads away from https")
        except BaseException:
            response.close()
            raise
        response.close()
        url = target
    raise SourceFailed(f"{without_secrets(remote.url)} leads on more than {MAX_REDIRECTS} times")


def without_secrets(url: str) -> str:
    """An address as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine by its own words."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_public(url: str) -> bool:
    """Whether every address of the host is a public one. A host that we cannot look up is the proxy's to judge."""
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_global for each in found)


def _check_peer(response: httpx2.Response, remote: Remote) -> None:
    """Look at who really answered: a name may mean one address when asked about and another when connected to."""
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer is None or urllib.request.getproxies():  # behind a proxy, the peer is the proxy
        return
    if not ipaddress.ip_address(str(peer[0]).partition("%")[0]).is_global:
        raise SourceFailed(f"{without_secrets(remote.url)} leads to an address inside a private network")


def _content_length(response: httpx2.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _pause(seconds: float) -> Iterator[Progress]:
    """Wait, giving whoever listens the chance to stop."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        yield Progress("waiting to try again")
        time.sleep(min(left_s, 0.25))
