"""GPUs and NPUs as Windows tells them. Written from its documentation; not tried on Windows."""

from typing import Any

from hutch.core.hardware import Device
from hutch.hardware.command import output, rows

_GPUS = (
    "Get-CimInstance Win32_VideoController | "
    "Select-Object Name,AdapterCompatibility,DriverVersion,AdapterRAM,PNPDeviceID | ConvertTo-Json"
)
_NPUS = (
    "Get-CimInstance Win32_PnPSignedDriver | Where-Object DeviceClass -eq 'COMPUTEACCELERATOR' | "
    "Select-Object DeviceName,Manufacturer,DriverVersion,DeviceID | ConvertTo-Json"
)
_VENDORS = {
    "NVIDIA": "NVIDIA",
    "Advanced Micro Devices": "AMD",
    "AMD": "AMD",
    "Intel": "Intel",
    "Qualcomm": "Qualcomm",
}
_NOT_REAL = ("Microsoft Basic", "Microsoft Remote", "Hyper-V")
_LARGEST_TOLD_BYTES = (4 << 30) - (1 << 20)  # the field has 32 bits: what it cannot hold is told as this


def devices() -> tuple[Device, ...]:
    """The display adapters, and the devices of the class for NPUs."""
    told = [output("powershell", "-NoProfile", "-Command", command) for command in (_GPUS, _NPUS)]
    return read_tables(*told)


def read_tables(gpus: str, npus: str) -> tuple[Device, ...]:
    """Read both tables, as JSON."""
    found = [_gpu(row) for row in rows(gpus) if not str(row.get("Name", "")).startswith(_NOT_REAL)]
    return (*found, *(_npu(row) for row in rows(npus)))


def _gpu(row: dict[str, Any]) -> Device:
    size = row.get("AdapterRAM")
    size_bytes = size if isinstance(size, int) and 0 < size < _LARGEST_TOLD_BYTES else 0
    vendor = _vendor(str(row.get("AdapterCompatibility", "")))
    return Device(
        "gpu", str(row.get("Name", "GPU")), vendor, "WDDM", str(row.get("DriverVersion") or ""), size_bytes
    )


def _npu(row: dict[str, Any]) -> Device:
    vendor = _vendor(str(row.get("Manufacturer", "")))
    return Device(
        "npu", str(row.get("DeviceName", "NPU")), vendor, "MCDM", str(row.get("DriverVersion") or "")
    )


def _vendor(text: str) -> str:
    return next((short for name, short in _VENDORS.items() if name.lower() in text.lower()), text)
