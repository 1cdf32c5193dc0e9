"""Where in a TOML file something stands, for errors. Reads lines, not TOML: a value that is written oddly is found by its table."""

import re
from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[")


def line_of(text: str, place: Sequence[str | int]) -> int:
    """The line, from 1, of what a path of keys and places in lists leads to; the nearest thing above it where it is not found."""
    lines = text.splitlines()
    first, last = 0, len(lines)
    for depth, part in enumerate(place):
        if isinstance(part, int):
            found = _nth(lines, first, last, place[: depth + 1])
        else:
            found = _key(lines, first, last, place[: depth + 1])
        if found is None:
            break
        first, last = found
    return first + 1


def _key(lines: Sequence[str], first: int, last: int, place: Sequence[str | int]) -> tuple[int, int] | None:
    """The lines of a key: its table, or its own line and those up to the next."""
    names = [part for part in place if isinstance(part, str)]
    for number in range(first, last):
        if _HEADER.match(lines[number]) and _is_header(lines[number], names):
            return number, last
    key = re.escape(names[-1])
    own = re.compile(rf"""(?:.*[\s{{,])?["']?{key}["']?\s*(?:=|\.)""")
    return next(((number, last) for number in range(first, last) if own.match(lines[number])), None)


def _nth(lines: Sequence[str], first: int, last: int, place: Sequence[str | int]) -> tuple[int, int] | None:
    """The lines of one thing in a list: of a table, or of what begins with a brace, a quote or a digit."""
    wanted = place[-1]
    assert isinstance(wanted, int)  # noqa: S101
    names = [part for part in place if isinstance(part, str)]
    if re.search(r"=\s*\[.*\]", lines[first]):  # the whole list stands on one line
        return None
    tables = [number for number in range(first, last) if _is_header(lines[number], names, doubled=True)]
    inline = [number for number in range(first, last) if re.match(r"""\s*[{"'\d]""", lines[number])]
    starts = tables or inline
    if wanted >= len(starts):
        return None
    end = starts[wanted + 1] if wanted + 1 < len(starts) else last
    return starts[wanted], end


def _is_header(line: str, names: Sequence[str], *, doubled: bool = False) -> bool:
    path = r"\s*\.\s*".join(rf"""["']?{re.escape(name)}["']?""" for name in names)
    opening = r"\[\[" if doubled else r"\[\[?"
    return re.match(rf"\s*{opening}\s*{path}\s*\]", line) is not None
