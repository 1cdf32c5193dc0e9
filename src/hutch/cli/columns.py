"""Tables of plain text, and sizes and times for people."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

_GAP = "    "


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows below their heads, each column as wide as its widest cell."""
    return "\n".join(lines([head, *rows]))


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns aligned, and no spaces at the ends."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(map(str.ljust, row, widths)).rstrip() for row in rows]


def named(values: Mapping[str, object]) -> str:
    """Values with their names: `num_thread 2, repack off`."""
    words: Mapping[object, str] = {True: "on", False: "off"}
    told = ((name, words[value] if isinstance(value, bool) else value) for name, value in values.items())
    return ", ".join(f"{name} {value}" for name, value in told)


def human_size(size_bytes: int) -> str:
    """A size in decimal units, with one digit after the point below ten: `1.3 GB`, `92 MB`."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size_bytes >= factor:
            value = size_bytes / factor
            return f"{value:.1f} {unit}" if value < 10 and value % 1 else f"{int(value)} {unit}"
    return f"{size_bytes} B"


def human_duration(seconds: float) -> str:
    """A duration as people say it: `About an hour`, `2 weeks`."""
    whole, minutes, hours = int(seconds), int(seconds / 60), round(seconds / 3600)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for unit, size_hours, limit in (("days", 24, 14), ("weeks", 168, 60), ("months", 720, 730)):
        if hours < limit * 24:
            return f"{hours // size_hours} {unit}"
    return f"{hours // 8760} years"


def human_time(rfc3339: str | None, *, now: datetime | None = None) -> str:
    """A moment as seen from now: `2 weeks ago`, `4 minutes from now`; what lies centuries ahead is `Forever`."""
    if not rfc3339:
        return "Forever"
    moment = parse_time(rfc3339)
    if moment.year < 1900:
        return "Never"
    ahead_s = (moment - (now or datetime.now(UTC))).total_seconds()
    if ahead_s > 20 * 365 * 86400:
        return "Forever"
    return f"{human_duration(ahead_s)} from now" if ahead_s > 0 else f"{human_duration(-ahead_s)} ago"


def parse_time(rfc3339: str) -> datetime:
    """Read a moment, of which Go's clocks write nine digits behind the point."""
    moment = datetime.fromisoformat(rfc3339)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
