"""What a process has taken of the processor."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float | None:
    """The seconds that a process has computed, all its threads together; None where the system does not say."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = told.rpartition(")")[2].split()  # the name before it may hold anything
    ticks = int(fields[11]) + int(fields[12])  # in user mode and in the kernel: fields 14 and 15 of the whole
    return ticks / os.sysconf("SC_CLK_TCK")
