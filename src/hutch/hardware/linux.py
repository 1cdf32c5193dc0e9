"""GPUs and NPUs as Linux shows them: PCI devices by their class, others by /sys/class/drm and /sys/class/accel."""

import re
from pathlib import Path

from hutch.core.hardware import Device
from hutch.hardware.system import link_name, read

_VENDORS = {
    0x10DE: "NVIDIA",
    0x1002: "AMD",
    0x1022: "AMD",
    0x8086: "Intel",
    0x17CB: "Qualcomm",
    0x106B: "Apple",
    0x1DA3: "Habana",
    0x1ED5: "Moore Threads",
}
# Adapters that only draw a screen, of virtual machines and of servers' management boards.
_SCREENS_ONLY = {0x1AF4, 0x1234, 0x1A03, 0x15AD, 0x1013, 0x102B, 0x1B36, 0x80EE, 0x1414}
_AMD_NPUS = {0x1502, 0x17F0}  # of the class "signal processing"
_DISPLAY, _ACCELERATOR = 0x03, 0x12
_DRIVER_VENDORS = {"msm": "Qualcomm", "msm_dpu": "Qualcomm", "panfrost": "Arm", "panthor": "Arm"}
_NAMES = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")


def devices(root: Path) -> tuple[Device, ...]:
    """The devices below `root`, which is `/` but for tests."""
    pci = [_pci(folder, root) for folder in sorted((root / "sys/bus/pci/devices").glob("*"))]
    found = {device.place: device for device in pci if device is not None}
    for kind, pattern in (("gpu", "sys/class/drm/card*"), ("npu", "sys/class/accel/accel*")):
        for node in sorted(root.glob(pattern)):
            place = (node / "device").resolve().name
            if re.fullmatch(r"(card|accel)\d+", node.name) and place not in found and not _is_pci(node):
                found |= {place: _platform(kind, node, place, root)}
    for node in sorted(root.glob("sys/class/misc/fastrpc-cdsp*"))[:1]:
        found["fastrpc"] = Device("npu", "Hexagon", "Qualcomm", "fastrpc", "", 0, node.name)
    return tuple(found.values())


def _pci(folder: Path, root: Path) -> Device | None:
    kind_number, vendor, device = (_hex(folder / name) for name in ("class", "vendor", "device"))
    is_npu = kind_number >> 16 == _ACCELERATOR or (vendor == 0x1022 and device in _AMD_NPUS)
    if not is_npu and (kind_number >> 16 != _DISPLAY or vendor in _SCREENS_ONLY):
        return None
    kind = "npu" if is_npu else "gpu"
    driver = link_name(folder / "driver")
    maker = _VENDORS.get(vendor, f"vendor {vendor:04x}")
    model = read(root / f"proc/driver/nvidia/gpus/{folder.name}/information")
    told = re.search(r"^Model:\s*(.+)$", model, re.MULTILINE)
    name = told[1] if told else _pci_name(root, vendor, device) or f"{maker} {kind.upper()} {device:04x}"
    return Device(
        kind,
        name,
        maker,
        driver,
        _driver_version(driver, root),
        _number(read(folder / "mem_info_vram_total")),  # amdgpu's
        folder.name,
    )


def _is_pci(node: Path) -> bool:
    return (node / "device" / "vendor").exists() and (node / "device" / "class").exists()


def _platform(kind: str, node: Path, place: str, root: Path) -> Device:
    """A part of a system on a chip."""
    driver = link_name(node / "device" / "driver")
    vendor = _DRIVER_VENDORS.get(driver, "")
    name = f"{vendor or driver or place} {kind.upper()}"
    return Device(kind, name, vendor, driver, _driver_version(driver, root), 0, place)


def _driver_version(driver: str, root: Path) -> str:
    if not driver:
        return ""
    if driver == "nvidia":
        told = re.search(
            r"Module\S*(?:\s+for\s+\S+)?\s+(\d[\d.]+)", read(root / "proc/driver/nvidia/version")
        )
        if told:
            return told[1]
    return read(root / "sys/module" / driver / "version")


def _pci_name(root: Path, vendor: int, device: int) -> str:
    """The name in the system's list of PCI devices, where it has one."""
    for file in _NAMES:
        text = read(root / file)
        block = re.search(rf"^{vendor:04x}  .*\n((?:[\t#].*\n)*)", text, re.MULTILINE)
        line = block and re.search(rf"^\t{device:04x}  (.+)$", block[1], re.MULTILINE)
        if line:
            return str(line[1]).strip()
    return ""


def _hex(path: Path) -> int:
    text = read(path)
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text) else 0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
