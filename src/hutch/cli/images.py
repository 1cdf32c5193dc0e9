"""Pictures that a prompt names by their paths, for models that see."""

import base64
import re
from pathlib import Path
from typing import NamedTuple

from hutch.core.errors import BadInput

_LARGEST_BYTES = 100 << 20
_PATH = re.compile(  # which begins a word: to look at every slash would take long in a long text
    r"'?(?<![\w/.~\\])((?:[A-Za-z]:[\\/]|\.\.?/|~/|/)(?:\\.|[^\n']){1,1024}?\.(?:jpe?g|png|webp))\b'?",
    re.IGNORECASE,
)
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")


class Seen(NamedTuple):
    """A prompt without the paths in it, the pictures in base64, and the files that they come from."""

    text: str
    images: list[str]
    files: list[Path]


def look(text: str) -> Seen:
    """Read the pictures whose files are there. Raises BadInput for a file that is none."""
    images: list[str] = []
    files: list[Path] = []
    at = 0
    while match := _PATH.search(text, at):
        file = _file(match[1])
        if file is None:
            at = match.start() + 1  # a path may begin within what looked like one
            continue
        images.append(base64.b64encode(_read(file)).decode())
        files.append(file)
        text, at = text[: match.start()] + text[match.end() :], match.start()
    return Seen(text.strip() if files else text, images, files)


def names_a_file(text: str) -> bool:
    """Whether a line begins with a picture's path, and so is no command."""
    match = _PATH.match(text)
    return match is not None and _file(match[1]) is not None


def _file(path: str) -> Path | None:
    """The file, as typed or dragged into a terminal, which puts a backslash before a space."""
    for spelling in (path, re.sub(r"\\(.)", r"\1", path)):
        try:
            file = Path(spelling).expanduser()
            if file.is_file():
                return file
        except (OSError, ValueError, RuntimeError):  # too long, or nobody's home
            continue
    return None


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise BadInput(f"{file}: larger than {_LARGEST_BYTES >> 20} MiB", hint="Scale the picture down.")
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{file}: {error.strerror}", hint="Leave its path out, or make it readable."
        ) from error
    if not data.startswith(_BEGINNINGS):
        raise BadInput(f"{file}: not a JPEG, PNG or WebP picture", hint="Convert it, or leave its path out.")
    return data
