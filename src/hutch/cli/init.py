"""`hutch init`: the machine looked at, a file of settings to begin with, and a model that fits."""

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from importlib.resources import files as resources
from typing import Any, NamedTuple

from hutch import config, files
from hutch.cli import catalog, columns, doctor, plain
from hutch.core.hardware import Device
from hutch.hardware import cpu, devices
from hutch.runtime import machine
from hutch.store.catalog_listing import Filter

_SHARE = 0.6  # of the memory that is free: what a model may take, so that the machine stays usable
_BYTES_A_CORE = 10**9  # of a model's file: it writes about as fast as people read, where no GPU helps


class Suggestion(NamedTuple):
    """A model for a beginning: its file, and the memory that it takes when loaded, about."""

    model: str
    size_bytes: int
    memory_bytes: int
    num_parameters: int


def init(args: argparse.Namespace) -> int:
    """Check, write and suggest. What is there already stays as it is. The exit code is 1 where a check fails."""
    checks = list(doctor.checks())
    found = devices.found()
    is_new = _write_settings()
    free_bytes, total_bytes = machine.memory_bytes()
    has_gpu = any(device.kind == "gpu" and device.driver for device in found)
    fitting = suggestion(known_models(), free_bytes, machine.num_cores(), has_gpu=has_gpu)
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


def suggestion(
    models: Iterable[Suggestion], free_bytes: int, num_cores: int, *, has_gpu: bool
) -> Suggestion | None:
    """The largest model that fits, and that this machine runs at a pace to read along; None where none fits."""
    fitting = [each for each in models if each.memory_bytes <= free_bytes * _SHARE]
    quick = [each for each in fitting if has_gpu or each.size_bytes <= num_cores * _BYTES_A_CORE]
    return max(quick, key=lambda each: each.num_parameters, default=None)


def known_models() -> Iterator[Suggestion]:
    """The catalog's models that one can talk with, in the variant for this machine."""
    for model in catalog.look(Filter(type="instruct"))["models"]:
        for variant in model["variants"]:
            if variant["chosen"] and variant["memory_bytes"] and variant["size_bytes"]:
                yield Suggestion(
                    model["name"],
                    variant["size_bytes"],
                    variant["memory_bytes"],
                    model["num_parameters"] or 0,
                )


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
    plain.out(
        f"model: {fitting.model} fits (a file of {columns.human_size(fitting.size_bytes)}, {columns.human_size(fitting.memory_bytes)} of memory, about)"
    )
    plain.out(f"\nNext: hutch run {fitting.model}")
