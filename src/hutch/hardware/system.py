"""Reading what the system shows in small files."""

from pathlib import Path

_MAX_BYTES = 4 << 20


def read(path: Path) -> str:
    """A file's text without spaces around it; "" where there is no such file, or not on this system."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""


def link_name(path: Path) -> str:
    """The name of what a link points to; "" where there is no such link."""
    try:
        return path.readlink().name
    except OSError:
        return ""
