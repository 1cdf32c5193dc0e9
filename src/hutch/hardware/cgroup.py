"""The limits that control groups set for this process: memory and processor time. Both versions, every level."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

Read = Callable[[Path], str]  # gives the text of a file without spaces around it; "" where there is none
_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 1 << 60  # version 1 writes a number of this size for "no limit"
_MEMORY_FILES = {
    2: ("memory.max", "memory.current", ("inactive_file", "active_file")),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}


class Limits(NamedTuple):
    """What this process may use; 0 bytes and None mean: no limit. `memory_used_bytes` counts no pages of files."""

    memory_bytes: int = 0
    memory_used_bytes: int = 0  # by the group that has the limit
    cores: float | None = None


def limits(read: Read) -> Limits:
    """The tightest limits of this process's groups and of all groups above them."""
    own = _own_groups(read)
    memory = [
        (limit_bytes, folder, version)
        for version, folder in _folders(own, "memory")
        if 0 < (limit_bytes := _number(read(folder / _MEMORY_FILES[version][0]))) < _UNLIMITED_BYTES
    ]
    quotas = [_quota(version, folder, read) for version, folder in _folders(own, "cpu")]
    cores = min((quota for quota in quotas if quota is not None), default=None)
    if not memory:
        return Limits(cores=cores)
    limit_bytes, folder, version = min(memory)
    return Limits(limit_bytes, _used_bytes(version, folder, read), cores)


def _own_groups(read: Read) -> dict[str, PurePosixPath]:
    """The path of this process's group for each controller of version 1, and under "" that of version 2."""
    paths: dict[str, PurePosixPath] = {}
    for line in read(Path("/proc/self/cgroup")).splitlines():
        if line.count(":") >= 2:
            _, controllers, path = line.split(":", 2)
            paths |= dict.fromkeys(controllers.split(","), PurePosixPath(path))
    return paths


def _folders(own: dict[str, PurePosixPath], controller: str) -> Iterator[tuple[int, Path]]:
    """The folders of the group and of all above it. In a container the path may not be there: its root then counts."""
    for version, root, path in ((2, _ROOT, own.get("")), (1, _ROOT / controller, own.get(controller))):
        group = path or PurePosixPath("/")
        for level in (group, *group.parents):
            yield version, root / str(level).lstrip("/")


def _used_bytes(version: int, folder: Path, read: Read) -> int:
    _, used, given_back = _MEMORY_FILES[version]
    pairs = (line.split() for line in read(folder / "memory.stat").splitlines())
    stat = dict(pair for pair in pairs if len(pair) == 2)
    return max(0, _number(read(folder / used)) - sum(_number(stat.get(name, "")) for name in given_back))


def _quota(version: int, folder: Path, read: Read) -> float | None:
    """Processor time as a number of cores."""
    if version == 2:
        words = [*read(folder / "cpu.max").split(), "", ""]
    else:
        words = [read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us")]
    quota, period = _number(words[0]), _number(words[1])
    return quota / period if quota and period else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
