"""How much memory and how many cores this process may use, cgroup limits respected."""

import os
from pathlib import Path

from hutch.hardware import cgroup, memory


def memory_bytes() -> tuple[int, int]:
    """Free and total memory in bytes. Free counts what the system can give back at once."""
    return memory.memory_bytes(_read)


def processors() -> set[int]:
    """The numbers of the logical processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def num_cores() -> int:
    """How many cores this process may have the time of, by its control groups too; at least 1."""
    quota = cgroup.limits(_read).cores
    return num_physical() if quota is None else min(num_physical(), max(1, int(quota)))


def num_physical() -> int:
    """Physical cores that this process may run on; at least 1."""
    allowed = processors()
    siblings = {
        _read(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")) for cpu in allowed
    }
    return max(1, len(siblings) if "" not in siblings else len(allowed))


def resident_bytes(pid: int) -> int | None:
    """The memory that a process holds now; None where the system does not say."""
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else None


def held_bytes(pid: int) -> int | None:
    """What a process holds of the memory that does not count as free, which pages of files do; None where the system does not say."""
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 2 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""  # not Linux, or not this kernel: the callers know what an empty answer means
