"""What the soak sees of the server from outside, by /proc: processes, memory, open files, files on disk."""

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one with the same number by the clock tick of its start."""

    pid: int
    start_tick: int

    @property
    def is_there(self) -> bool:
        """Whether it exists, be it only as a zombie."""
        return process(self.pid) == self


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may itself hold spaces and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def process(pid: int) -> Process | None:
    """Look a process up."""
    fields = _stat(pid)
    return Process(pid, int(fields[19])) if fields else None


def children(parent: int) -> list[int]:
    """The direct children, zombies included."""
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return sorted(pid for pid in pids if (fields := _stat(pid)) and int(fields[1]) == parent)


def descendants(parent: int) -> list[int]:
    """The children and their children."""
    found: list[int] = []
    for child in children(parent):
        found += [child, *descendants(child)]
    return found


def rss_bytes(pid: int) -> int:
    """Resident memory; 0 of one that is gone."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def num_fds(pid: int) -> int:
    """Open file descriptors."""
    return len(list((PROC / str(pid) / "fd").iterdir()))


def entries(folders: Iterable[Path]) -> list[str]:
    """Every file, socket and folder below these folders."""
    return sorted(str(path) for folder in folders for path in folder.rglob("*"))


@dataclass(slots=True)
class Memory:
    """One process's memory over the time of the load."""

    role: str
    samples: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Level:
    """Memory at the start, at the time of reference and at the end."""

    start_bytes: int
    reference_bytes: int
    end_bytes: int

    @property
    def change(self) -> float:
        """By which part the end differs from the reference."""
        return self.end_bytes / self.reference_bytes - 1


@dataclass(frozen=True, slots=True)
class Marks:
    """When memory is compared, in seconds of load. Ten minutes give minute 2; a shorter run shrinks with it."""

    duration_s: float

    @property
    def reference_s(self) -> float:
        """When a process that was there from the start is looked at."""
        return self.duration_s / 5

    @property
    def kill_every_s(self) -> float:
        """How often a worker is killed."""
        return min(60.0, self.duration_s / 3)

    @property
    def steady_s(self) -> float:
        """The age at which a worker that replaces a killed one is looked at first."""
        return self.kill_every_s / 4

    @property
    def window_s(self) -> float:
        """Over how long a figure is the median."""
        return max(5.0, self.duration_s / 50)

    def level(self, samples: Sequence[tuple[float, int]]) -> Level | None:
        """Sum up one process; None for one that did not live long enough to have a second value."""
        if not samples:
            return None
        first_s, last_s = samples[0][0], samples[-1][0]
        at_s = self.reference_s if first_s < self.reference_s / 2 else first_s + self.steady_s
        near = [size for when_s, size in samples if abs(when_s - at_s) <= self.window_s / 2]
        end = [size for when_s, size in samples if when_s > last_s - self.window_s]
        if not near or last_s < self.duration_s - self.window_s or last_s - at_s < self.window_s:
            return None
        return Level(samples[0][1], int(statistics.median(near)), int(statistics.median(end)))
