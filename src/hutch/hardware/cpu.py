"""The processor: its name, its cores, and the instructions that inference is quick with."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hutch.hardware import cgroup
from hutch.hardware.system import read

# What engines ask for, as people know it, and how the kernel's list of flags calls it on x86-64 and on ARM.
_FEATURES = {
    "SSE4.2": ("sse4_2",),
    "AVX": ("avx",),
    "AVX2": ("avx2",),
    "FMA": ("fma",),
    "F16C": ("f16c",),
    "AVX-512": ("avx512f",),
    "AVX-512 VNNI": ("avx512_vnni", "avx512vnni"),
    "AVX-512 BF16": ("avx512_bf16",),
    "AVX-512 FP16": ("avx512_fp16",),
    "AVX-VNNI": ("avx_vnni",),
    "AMX": ("amx_tile",),
    "AMX INT8": ("amx_int8",),
    "AMX BF16": ("amx_bf16",),
    "NEON": ("asimd", "neon"),
    "dot product": ("asimddp",),
    "FP16": ("asimdhp",),
    "I8MM": ("i8mm",),
    "BF16": ("bf16",),
    "SVE": ("sve",),
    "SVE2": ("sve2",),
    "SME": ("sme",),
}
_WITHIN_S = 5.0


class Processor(NamedTuple):
    """What there is, and what of it this process may use. `quota_cores` is None without a limit of time."""

    model: str
    architecture: str
    features: tuple[str, ...]
    num_threads: int  # logical processors of the machine
    num_allowed: int  # of these, the ones that the affinity leaves
    quota_cores: float | None


def processor() -> Processor:
    """Look at the processor of this machine."""
    model, flags = _linux() if sys.platform == "linux" else _mac() if sys.platform == "darwin" else _other()
    num_threads = os.cpu_count() or 1
    return Processor(
        model or platform.processor() or platform.machine(),
        platform.machine(),
        features(flags),
        num_threads,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else num_threads,
        cgroup.limits(read).cores,
    )


def features(flags: Iterable[str]) -> tuple[str, ...]:
    """The names of what these flags say, in one order."""
    known = set(flags)
    return tuple(name for name, words in _FEATURES.items() if known.intersection(words))


def _linux() -> tuple[str, list[str]]:
    text = read(Path("/proc/cpuinfo"))
    fields = dict(re.findall(r"^(model name|Model|flags|Features)\s*:\s*(.*)$", text, re.MULTILINE))
    flags = fields.get("flags") or fields.get("Features") or ""
    model = fields.get("model name") or fields.get("Model") or read(Path("/proc/device-tree/model"))
    return model.rstrip("\0"), flags.split()


def _mac() -> tuple[str, list[str]]:
    """From sysctl; Apple's own processors all have NEON and the dot product. Not tried on a Mac."""
    names = ("machdep.cpu.brand_string", "machdep.cpu.features", "machdep.cpu.leaf7_features")
    told = {name: _sysctl(name) for name in names}
    flags = [word.lower().replace("avx512_", "avx512") for name in names[1:] for word in told[name].split()]
    spelled = {"avx1.0": "avx", "sse4.2": "sse4_2", "avx512vnni": "avx512_vnni"}
    if platform.machine() == "arm64":
        flags += ["asimd", "asimddp", "asimdhp"]
        flags += ["i8mm"] if _sysctl("hw.optional.arm.FEAT_I8MM") == "1" else []
        flags += ["bf16"] if _sysctl("hw.optional.arm.FEAT_BF16") == "1" else []
    return told[names[0]], [spelled.get(flag, flag) for flag in flags]


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, timeout=_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # a name that this system does not have
    return done.stdout.strip()


def _other() -> tuple[str, list[str]]:
    """Windows tells the name; of the instructions only what the architecture implies is said. Not tried there."""
    is_arm = platform.machine().lower() in ("arm64", "aarch64")
    return platform.processor(), ["asimd"] if is_arm else []
