"""How much memory and how many cores this process may use, cgroup limits respected."""

import os
from pathlib import Path


def memory_bytes() -> tuple[int, int]:
    """Free and total memory in bytes. Free counts what the system can give back at once."""
    total, free = _meminfo()
    limit, used = _cgroup()
    if limit and limit < total:
        return max(0, min(free, limit - used)), limit
    return free, total


def num_cores() -> int:
    """Physical cores that this process may run on; at least 1."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = {
        _read(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")) for cpu in allowed
    }
    cores = len(siblings) if "" not in siblings else len(allowed)
    quota = _read(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit() and int(quota[1]):
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
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


def _cgroup() -> tuple[int, int]:
    """The memory limit of this control group, and what of it is in use without reclaimable file pages."""
    root = Path("/sys/fs/cgroup")
    limit = _read(root / "memory.max")
    if not limit.isdigit():
        return 0, 0
    stat = dict(line.split() for line in _read(root / "memory.stat").splitlines() if len(line.split()) == 2)
    used = int(_read(root / "memory.current") or 0) - int(stat.get("inactive_file", 0))
    return int(limit), max(0, used)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""  # not Linux, or not this kernel: the callers know what an empty answer means
