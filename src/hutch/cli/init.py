"""`hutch init`: the machine looked at, a file of settings to begin with, and a model that fits."""

import argparse
import json
import os
from importlib.resources import files as resources
from typing import Any, NamedTuple

from hutch import config, files
from hutch.cli import columns, doctor, plain
from hutch.core.hardware import Device
from hutch.hardware import cpu, devices
from hutch.runtime import machine

_SHARE = 0.6  # of the memory that is free: what a model may take, so that the machine stays usable
_BYTES_A_CORE = 10**9  # of a model that is read as fast as people read, where no GPU helps


class Suggestion(NamedTuple):
    """A model for a beginning, and the memory that it takes with a context of 4096 tokens, about."""

    model: str
    memory_bytes: int


# From the largest to the smallest. The last two come from PyPI, the others from Ollama's registry.
_MODELS = (
    Suggestion("qwen2.5:14b", 12 * 10**9),
    Suggestion("qwen2.5:7b", 6_500_000_000),
    Suggestion("phi4-mini", 4 * 10**9),
    Suggestion("qwen2.5:3b", 2_900_000_000),
    Suggestion("llama3.2:1b", 1_900_000_000),
    Suggestion("gemma3:270m", 700_000_000),
    Suggestion("smollm2:135m", 550_000_000),
)


def init(args: argparse.Namespace) -> int:
    """Check, write and suggest. What is there already stays as it is. The exit code is 1 where a check fails."""
    checks = list(doctor.checks())
    found = devices.found()
    is_new = _write_settings()
    free_bytes, total_bytes = machine.memory_bytes()
    has_gpu = any(device.kind == "gpu" and device.driver for device in found)
    fitting = suggestion(free_bytes, machine.num_cores(), has_gpu=has_gpu)
    report: dict[str, Any] = {
        "machine": {
            "processor": cpu.processor().model,
            "cores": machine.num_cores(),
            "memory_bytes": total_bytes,
            "free_bytes": free_bytes,
            "devices": [device._asdict() for device in found],
        },
        "checks": [check._asdict() for check in checks],
        "settings": {"path": str(config.file()), "written": is_new},
        "suggestion": fitting._asdict() if fitting else None,
    }
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report, found, checks, fitting)
    return int(any(check.status == "fail" for check in checks))


def suggestion(free_bytes: int, num_cores: int, *, has_gpu: bool) -> Suggestion | None:
    """The largest model that fits, and that this machine runs at a pace to read along; None where none fits."""
    room_bytes = free_bytes * _SHARE
    if not has_gpu:
        room_bytes = min(room_bytes, max(_MODELS[-1].memory_bytes, num_cores * _BYTES_A_CORE))
    return next((each for each in _MODELS if each.memory_bytes <= room_bytes), None)


def _write_settings() -> bool:
    """Write the file of settings where there is none."""
    path = config.file()
    if path.exists() or path.is_symlink():
        return False
    text = resources("hutch.cli").joinpath("settings.toml").read_bytes()
    files.write_whole(path, text, path.with_name(f".{path.name}.{os.getpid()}"), 0o644)
    return True


def _show(
    report: dict[str, Any], found: tuple[Device, ...], checks: list[doctor.Check], fitting: Suggestion | None
) -> None:
    about = report["machine"]
    free, total = columns.human_size(about["free_bytes"]), columns.human_size(about["memory_bytes"])
    plain.out(f"machine: {about['processor']}, {about['cores']} cores, {free} free of {total}")
    kinds = [f"{device.kind.upper()} {device.name}" for device in found]
    plain.out(f"accelerators: {', '.join(kinds) or 'none is to be seen'}")
    for check in checks:
        if check.status != "ok":
            plain.out(f"{check.status}: {check.name}: {check.message}")
            plain.out(f"      → {check.next_step}")
    settings = report["settings"]
    plain.out(
        f"settings: {settings['path']} {'written' if settings['written'] else 'is there, and stays as it is'}"
    )
    if fitting is None:
        plain.out("model: too little memory is free even for the smallest one; close other programs")
        return
    plain.out(f"model: {fitting.model} fits (about {columns.human_size(fitting.memory_bytes)} of memory)")
    plain.out(f"\nNext: hutch run {fitting.model}")
