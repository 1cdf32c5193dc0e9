"""Memory and cores of this machine, and of machines made of files."""

import os
import sys
from pathlib import Path

import pytest

from hutch.runtime import machine


def test_this_machine_has_sane_memory_and_cores() -> None:
    free_bytes, total_bytes = machine.memory_bytes()
    assert 64 << 20 < total_bytes <= 1 << 62
    assert 0 <= free_bytes <= total_bytes
    assert 1 <= machine.num_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_has_a_size_and_nobody_has_none() -> None:
    size_bytes = machine.resident_bytes(os.getpid())
    assert size_bytes is not None
    assert 4 << 20 < size_bytes < machine.memory_bytes()[1]
    assert machine.resident_bytes(1 << 30) is None
    assert machine.held_bytes(1 << 30) is None


def pretend(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(machine, "_read", lambda path: files.get(Path(path).as_posix(), ""))


MEMINFO = "MemTotal:  1000 kB\nMemFree: 5 kB\nMemAvailable:  600 kB\nHugePages_Total: 0"
GROUP = "/sys/fs/cgroup/memory."
CPU = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@pytest.mark.parametrize(
    ("files", "free", "total"),
    [
        ({}, 600 * 1024, 1000 * 1024),
        ({"max": "max", "current": "5"}, 600 * 1024, 1000 * 1024),
        ({"max": str(2000 * 1024), "current": "5"}, 600 * 1024, 1000 * 1024),
        ({"max": "409600", "current": "9600"}, 400_000, 409_600),
        ({"max": "409600", "current": "109600", "stat": "anon 5\ninactive_file 100000"}, 400_000, 409_600),
        (
            {"max": "409600", "current": "109600", "stat": "active_file 60000\ninactive_file 40000"},
            400_000,
            409_600,
        ),
        ({"max": "409600", "current": "9600", "stat": "inactive_file 100000"}, 409_600, 409_600),
        ({"max": "409600", "current": "500000"}, 0, 409_600),
        ({"max": "409600"}, 409_600, 409_600),
    ],
)
def test_memory_is_the_systems_or_the_control_groups(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], free: int, total: int
) -> None:
    pretend(monkeypatch, {"/proc/meminfo": MEMINFO} | {GROUP + name: text for name, text in files.items()})
    assert machine.memory_bytes() == (free, total)


def test_where_the_system_does_not_say_the_free_memory_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {})
    free_bytes, total_bytes = machine.memory_bytes()
    assert free_bytes == total_bytes > 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
@pytest.mark.parametrize(
    ("siblings", "quota", "cores"),
    [
        (["0-1", "0-1", "2-3", "2-3"], "", 2),
        (["0", "1", "2", "3"], "max 100000", 4),
        (["", "", "", ""], "", 4),
        (["0", "1", "2", ""], "", 4),
        (["0", "1", "2", "3"], "250000 100000", 2),
        (["0", "1", "2", "3"], "50000 100000", 1),
        (["0", "1", "2", "3"], "900000 100000", 4),
        (["0", "1", "2", "3"], "5 0", 4),
    ],
)
def test_cores_are_physical_and_within_the_quota(
    monkeypatch: pytest.MonkeyPatch, siblings: list[str], quota: str, cores: int
) -> None:
    files = {CPU.format(cpu): text for cpu, text in enumerate(siblings)}
    pretend(monkeypatch, files | {"/sys/fs/cgroup/cpu.max": quota})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(4)))
    assert machine.num_cores() == cores


def test_mapped_files_count_as_free_and_so_not_as_held(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"/proc/7/statm": "500 100 30 1 0 50 0"})
    assert machine.held_bytes(7) == 70 * os.sysconf("SC_PAGE_SIZE")
