"""One download over HTTP into a partial file: it goes on where it stopped, and believes no length it has not counted."""

import re
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

import httpx2

from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.store import room
from hutch.store.addresses import follow, without_secrets
from hutch.store.blobs import Blobs
from hutch.store.pace import Pace
from hutch.store.partial import Partial

MAX_FILE_BYTES = 1 << 41  # 2 TiB: no small model is larger
ENOUGH_PROGRESS_BYTES = 1 << 20  # a try that brought so much does not count as one

RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
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
    may_be_plain: bool = False  # http to other machines too
    authorization: str = ""  # said to this address's host alone


class _TryAgain(Exception):
    """A try failed, and the next may not."""


class Download:
    """A download, and its partial file, which is locked until the context is left."""

    def __init__(self, client: httpx2.Client, remote: Remote, blobs: Blobs, patience: Patience) -> None:
        self._client = client
        self._remote = remote
        self._shown = without_secrets(remote.url)
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
            yield from pause(self._patience.pause_s * 2 ** (failed - 1))

    def _try(self) -> Generator[Progress, None, None]:
        self._response = self._ask()
        if self._response.status_code in RETRIED:
            raise _TryAgain(f"the server answered {self._response.status_code}")
        if self._partial is None:  # the first answer tells what bytes these are
            self._validator = _validator(self._response)
            key = f"{self._remote.url}\n{self._validator}"
            self._partial = self._blobs.keyed(key) if self._validator else self._blobs.incoming()
            yield from self.partial.open()
            if self.partial.size_bytes:
                self._close_response()
                self._response = self._ask()
        if self._take_up(self._response):
            yield from self._receive(self._response)

    def _ask(self) -> httpx2.Response:
        headers = {"Accept-Encoding": "identity"}
        if self._remote.authorization:
            headers["Authorization"] = self._remote.authorization
        if self._partial is not None and self._partial.size_bytes:
            headers["Range"] = f"bytes={self._partial.size_bytes}-"
            if self._validator:
                headers["If-Range"] = self._validator
        try:
            return follow(
                self._client,
                self._remote.url,
                headers,
                stall_s=self._patience.stall_s,
                may_be_plain=self._remote.may_be_plain,
            )
        except (httpx2.InvalidURL, ValueError) as problem:  # it, or what it leads to, is no address
            raise SourceFailed(f"{self._shown}: {problem}") from problem

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
            start, last, total = content_range(response)
            if (start, last + 1) != (partial.size_bytes, total) or self._total not in (None, total):
                partial.keep = False
                raise SourceFailed(f"{self._shown}: the server sent another range than was asked for")
            self._total = total
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

    def _receive(self, response: httpx2.Response) -> Generator[Progress, None, None]:
        partial, pace, digest = self.partial, Pace(), self._remote.digest
        what = digest.removeprefix("sha256:")[:12] if digest else PurePosixPath(self._shown).name
        for chunk in response.iter_raw():
            partial.write(chunk)
            if partial.size_bytes > (self._remote.max_bytes if self._total is None else self._total):
                partial.keep = False
                raise SourceFailed(f"{self._shown}: the server sent more than it announced")
            if pace.is_due():
                yield Progress(f"pulling {what}", digest, self._total, partial.size_bytes)
        if self._total is not None and partial.size_bytes < self._total:
            raise _TryAgain("the server sent less than it announced")
        self._total = partial.size_bytes
        yield Progress(f"pulling {what}", digest, self._total, partial.size_bytes)

    def _close_response(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _validator(response: httpx2.Response) -> str:
    """The tag by which a later answer can be told to be of the same bytes; empty where there is none."""
    etag = response.headers.get("ETag", "")
    return "" if etag.startswith("W/") or response.status_code != 200 else etag


def content_range(response: httpx2.Response) -> tuple[int, int, int]:
    """The first and the last byte of a partial answer, and how long the whole file is; -1 where it does not tell."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    first, last, total = map(int, match.groups()) if match else (-1, -1, -1)
    return first, last, total


def _content_length(response: httpx2.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def pause(seconds: float) -> Iterator[Progress]:
    """Wait, giving whoever listens the chance to stop."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        yield Progress("waiting to try again")
        time.sleep(min(left_s, 0.25))
