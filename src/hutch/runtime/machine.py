"""How much memory and how many cores this process may use, cgroup limits respected."""

import os
from pathlib import Path

from hutch.hardware import cgroup


def memory_bytes() -> tuple[int, int]:
    """Free and total memory in bytes. Free counts what the system can give back at once."""
    total, free = _meminfo()
    group = cgroup.limits(_read)
    if 0 < group.memory_bytes < total:
        return max(0, min(free, group.memory_bytes - group.memory_used_bytes)), group.memory_bytes
    return free, total


def num_cores() -> int:
    """Physical cores that this process may run on; at least 1."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = {
        _read(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")) for cpu in allowed
    }
    cores = len(siblings) if "" not in siblings else len(allowed)
    quota = cgroup.limits(_read).cores
    if quota is not None:
        cores = min(cores, max(1, int(quota)))
    return max(1, cores)


def resident_bytes(pid: int) -> int | None:
    """The memory that a process holds now; None where the system does not say."""
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else None


def _meminfo() -> tuple[int, int]:
    fields = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines() if ":" in line)
    if "MemTotal" in fields and "MemAvailable" in fields:
        return int(fields["MemTotal"].split()[0]) * 1024, int(fields["MemAvailable"].split()[0]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total
    return 1 << 62, 1 << 62  # not known: refuse nothing for lack of memory


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""  # not Linux, or not this kernel: the callers know what an empty answer means
