"""The GPUs and NPUs of this machine, as its system shows them. What a driver says of itself is not asked for here."""

import sys
from pathlib import Path

from hutch.core.hardware import Device
from hutch.hardware import linux, macos, nvidia, windows


def found() -> tuple[Device, ...]:
    """Every GPU and NPU; those without a driver too, for a driver is then what is missing."""
    if sys.platform == "linux":
        return nvidia.named(linux.devices(Path("/")), nvidia.told())
    if sys.platform == "darwin":
        return macos.devices()
    if sys.platform == "win32":
        return nvidia.named(windows.devices(), nvidia.told())
    return ()
