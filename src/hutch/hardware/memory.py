"""How much memory this process may use, cgroup limits respected."""

import os
from pathlib import Path

from hutch.hardware import cgroup, system
from hutch.hardware.cgroup import Read


def memory_bytes(read: Read = system.read) -> tuple[int, int]:
    """Free and total memory in bytes. Free counts what the system can give back at once."""
    total, free = _meminfo(read)
    group = cgroup.limits(read)
    if 0 < group.memory_bytes < total:
        return max(0, min(free, group.memory_bytes - group.memory_used_bytes)), group.memory_bytes
    return free, total


def _meminfo(read: Read) -> tuple[int, int]:
    lines = read(Path("/proc/meminfo")).splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "MemTotal" in fields and "MemAvailable" in fields:
        return int(fields["MemTotal"].split()[0]) * 1024, int(fields["MemAvailable"].split()[0]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total
    return 1 << 62, 1 << 62  # not known: refuse nothing for lack of memory
