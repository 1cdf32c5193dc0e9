"""GPUs and NPUs as macOS tells them. Written from its documentation; not tried on a Mac."""

import json
import platform
from typing import Any

from hutch.core.hardware import Device
from hutch.hardware.command import output, rows


def devices() -> tuple[Device, ...]:
    """What the system profiler lists; Apple's own processors have a Neural Engine too."""
    return read_displays(
        output("system_profiler", "-json", "SPDisplaysDataType"), is_apple=platform.machine() == "arm64"
    )


def read_displays(text: str, *, is_apple: bool) -> tuple[Device, ...]:
    """Read the profiler's JSON. Memory of a GPU on the same chip is the machine's own, and not told."""
    listed: list[dict[str, Any]] = [
        gpu
        for told in rows(text)
        for gpu in rows(json.dumps(told.get("SPDisplaysDataType")))
        if gpu.get("sppci_device_type") == "spdisplays_gpu"
    ]
    found = [
        Device(
            "gpu", str(gpu.get("sppci_model", "GPU")), _vendor(str(gpu.get("spdisplays_vendor", ""))), "Metal"
        )
        for gpu in listed
    ]
    if is_apple:
        found.append(Device("npu", "Apple Neural Engine", "Apple", "Core ML"))
    return tuple(found)


def _vendor(text: str) -> str:
    known = ("Apple", "AMD", "Intel", "NVIDIA")
    return next((name for name in known if name.lower() in text.lower()), text)
