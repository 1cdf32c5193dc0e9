"""What nvidia-smi tells of NVIDIA's GPUs, where it is: names, memory and the driver's version."""

import re
from collections.abc import Iterator, Sequence

from hutch.core.hardware import Device, GpuUse
from hutch.hardware.command import output

_FIELDS = "pci.bus_id,name,memory.total,driver_version"
_IN_USE = "index,name,utilization.gpu,memory.used,memory.total"
_IN_USE_WITHIN_S = 2.0  # whoever scrapes is waiting


def told() -> str:
    """Its table: one line a GPU; "" without it."""
    return output("nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits")


def named(devices: Sequence[Device], table: str) -> tuple[Device, ...]:
    """The devices, with what the table says of them; GPUs that only the table has come last."""
    listed = {_short(device.place): device for device in _rows(table)}
    merged = [_merged(device, listed.pop(_short(device.place), None)) for device in devices]
    if listed and all(not device.place for device in devices):  # the system told no places: names must do
        names = {device.name for device in merged}
        listed = {place: device for place, device in listed.items() if device.name not in names}
    return (*merged, *listed.values())


def in_use() -> tuple[GpuUse, ...]:
    """How busy the GPUs are; none without nvidia-smi, or where it takes too long."""
    table = output(
        "nvidia-smi",
        f"--query-gpu={_IN_USE}",
        "--format=csv,noheader,nounits",
        within_s=_IN_USE_WITHIN_S,
    )
    return tuple(_uses(table))


def _uses(table: str) -> Iterator[GpuUse]:
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 5:
            index, name, *numbers = cells
            percent, used, total = (int(cell) if cell.isdigit() else None for cell in numbers)
            yield GpuUse(index, name, percent and percent / 100, _bytes(used), _bytes(total))


def _bytes(mebibytes: int | None) -> int | None:
    return None if mebibytes is None else mebibytes << 20


def _rows(table: str) -> Iterator[Device]:
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4:
            place, name, mebibytes, version = cells
            size_bytes = int(mebibytes) << 20 if mebibytes.isdigit() else 0
            yield Device("gpu", name, "NVIDIA", "nvidia", version, size_bytes, place)


def _merged(device: Device, told: Device | None) -> Device:
    if told is None:
        return device
    return told._replace(place=device.place, driver=device.driver or told.driver)


def _short(place: str) -> str:
    """A PCI address without its domain's leading zeros, of which each tool writes another number."""
    match = re.fullmatch(r"0*([0-9a-f]*):([0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])", place.lower())
    return f"{match[1] or '0'}:{match[2]}" if match else place
