"""Limits of control groups, on machines made of files."""

from pathlib import Path

import pytest

from hutch.hardware import cgroup
from hutch.hardware.cgroup import Limits

V2 = "/sys/fs/cgroup/"
MEMORY, CPU = "/sys/fs/cgroup/memory/", "/sys/fs/cgroup/cpu/"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Limits()),
        ({f"{V2}memory.max": "max", f"{V2}cpu.max": "max 100000"}, Limits()),
        ({f"{V2}memory.max": "1000", f"{V2}memory.current": "300"}, Limits(1000, 300)),
        (  # a service of systemd: its own group has the limit, the root has none
            {
                "/proc/self/cgroup": "0::/system.slice/hutch.service",
                f"{V2}system.slice/hutch.service/memory.max": "2000",
                f"{V2}system.slice/hutch.service/memory.current": "900",
                f"{V2}system.slice/hutch.service/memory.stat": "anon 1\ninactive_file 400",
                f"{V2}system.slice/cpu.max": "150000 100000",
            },
            Limits(2000, 500, 1.5),
        ),
        (  # a group above may be tighter than one's own
            {
                "/proc/self/cgroup": "0::/a/b",
                f"{V2}a/b/memory.max": "5000",
                f"{V2}a/memory.max": "4000",
                f"{V2}a/memory.current": "100",
                f"{V2}a/b/cpu.max": "300000 100000",
                f"{V2}a/cpu.max": "200000 100000",
            },
            Limits(4000, 100, 2.0),
        ),
        (  # a container with version 1: the path is that of the host
            {
                "/proc/self/cgroup": "4:memory:/docker/0a\n1:cpu,cpuacct:/docker/0a",
                f"{MEMORY}memory.limit_in_bytes": "1000",
                f"{MEMORY}memory.usage_in_bytes": "700",
                f"{MEMORY}memory.stat": "total_inactive_file 200",
                f"{CPU}cpu.cfs_quota_us": "50000",
                f"{CPU}cpu.cfs_period_us": "100000",
            },
            Limits(1000, 500, 0.5),
        ),
        (
            {
                f"{MEMORY}memory.limit_in_bytes": "9223372036854771712",
                f"{CPU}cpu.cfs_quota_us": "-1",
                f"{CPU}cpu.cfs_period_us": "100000",
            },
            Limits(),
        ),
        ({"/proc/self/cgroup": "nonsense\n0:x", f"{V2}memory.max": "-5", f"{V2}cpu.max": "1"}, Limits()),
    ],
)
def test_the_tightest_limit_of_all_levels_counts(files: dict[str, str], expected: Limits) -> None:
    assert cgroup.limits(lambda path: files.get(Path(path).as_posix(), "")) == expected
