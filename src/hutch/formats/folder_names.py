"""The names of files in a model's folder: relative, with `/`, and never out of it."""

import re
from collections.abc import Iterable

from hutch.core.errors import FormatError
from hutch.formats.gguf_source import shown

MAX_FILES = 1000
_MAX_BYTES, _MAX_PART_BYTES, _MAX_PARTS = 512, 255, 8
_DRIVE = re.compile(r"[A-Za-z]:")
_HINT = "Names are relative to the model's folder, and stay in it."


def check(name: str, what: str = "the model") -> None:
    """Raise FormatError where a name may mean a file outside the folder. `what` is whoever names it."""
    parts = name.split("/")
    is_fine = (
        len(name.encode(errors="replace")) <= _MAX_BYTES
        and len(parts) <= _MAX_PARTS
        and name.isprintable()
        and not _DRIVE.match(name)
        and "\\" not in name
        and all(part not in ("", ".", "..") and part == part.strip() for part in parts)
        and all(len(part.encode(errors="replace")) <= _MAX_PART_BYTES for part in parts)
    )
    if not is_fine:
        raise FormatError(f"{what}: {shown(name)} is no name of a file in the folder", hint=_HINT)


def check_all(names: Iterable[str]) -> None:
    """The same for all files of a folder, which must be able to lie beside each other on any system."""
    known: set[str] = set()
    for name in names:
        check(name)
        if name.casefold() in known:
            raise FormatError(f"the model has the file {shown(name)} twice", hint=_HINT)
        known.add(name.casefold())
    if len(known) > MAX_FILES:
        raise FormatError(f"the model has {len(known)} files; at most {MAX_FILES} are allowed")
    for name in known:
        parts = name.split("/")
        folders = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if clash := folders & known:
            raise FormatError(f"the model has {shown(clash.pop())} as a file and as a folder", hint=_HINT)
