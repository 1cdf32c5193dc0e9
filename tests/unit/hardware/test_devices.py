"""GPUs and NPUs, on machines made of files and of recorded words."""

import json
from pathlib import Path

import pytest

from hutch.core.hardware import Device
from hutch.hardware import cpu, devices, linux, macos, nvidia, windows

PCI_IDS = "# a comment\n8086  Intel Corporation\n\t7d1d  Meteor Lake NPU\n\t56a0  DG2 [Arc A770]\n\t\t8086 1  Board\n10de  NVIDIA Corporation\n\t27b8  AD104GL [L4]\n"
SMI = "00000000:01:00.0, NVIDIA L4, 23034, 580.95.05\nbroken line\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def pci(root: Path, place: str, ids: tuple[str, str, str], driver: str = "") -> None:
    folder = root / "sys/bus/pci/devices" / place
    write(folder, {name: text + "\n" for name, text in zip(("class", "vendor", "device"), ids, strict=True)})
    if driver:
        (root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(root / "sys/bus/pci/drivers" / driver)


def test_linux_shows_gpus_and_npus_with_their_drivers(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "usr/share/misc/pci.ids": PCI_IDS,
            "sys/module/intel_vpu/version": "1.0.0\n",
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue\n",
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nIRQ: 1\n",
        },
    )
    pci(tmp_path, "0000:00:0b.0", ("0x120000", "0x8086", "0x7d1d"), "intel_vpu")
    pci(tmp_path, "0000:01:00.0", ("0x030200", "0x10de", "0x27b8"), "nvidia")
    pci(tmp_path, "0000:03:00.0", ("0x030000", "0x8086", "0x56a0"))  # its driver is missing
    pci(tmp_path, "0000:04:00.0", ("0x118000", "0x1022", "0x17f0"), "amdxdna")
    pci(tmp_path, "0000:05:00.0", ("0x038000", "0x1002", "0x744c"), "amdgpu")
    write(tmp_path, {"sys/bus/pci/devices/0000:05:00.0/mem_info_vram_total": "25753026560\n"})
    pci(tmp_path, "0000:00:01.0", ("0x030000", "0x1af4", "0x1050"), "virtio-pci")  # draws a screen, no more
    pci(tmp_path, "0000:00:02.0", ("0x020000", "0x1af4", "0x1041"))  # a network card
    assert linux.devices(tmp_path) == (
        Device("npu", "Meteor Lake NPU", "Intel", "intel_vpu", "1.0.0", 0, "0000:00:0b.0"),
        Device("gpu", "NVIDIA L4", "NVIDIA", "nvidia", "580.95.05", 0, "0000:01:00.0"),
        Device("gpu", "DG2 [Arc A770]", "Intel", "", "", 0, "0000:03:00.0"),
        Device("npu", "AMD NPU 17f0", "AMD", "amdxdna", "", 0, "0000:04:00.0"),
        Device("gpu", "AMD GPU 744c", "AMD", "amdgpu", "", 25753026560, "0000:05:00.0"),
    )


def test_linux_shows_the_parts_of_a_system_on_a_chip(tmp_path: Path) -> None:
    parts = tmp_path / "sys/devices/platform"
    for name, driver, node in (("ae01000.gpu", "msm", "drm/card0"), ("x.npu", "rocket", "accel/accel0")):
        (parts / name).mkdir(parents=True)
        (parts / "drivers" / driver).mkdir(parents=True)
        (parts / name / "driver").symlink_to(parts / "drivers" / driver)
        (tmp_path / "sys/class" / node).mkdir(parents=True)
        (tmp_path / "sys/class" / node / "device").symlink_to(parts / name)
    (tmp_path / "sys/class/drm/card0-HDMI-A-1").mkdir()
    (tmp_path / "sys/class/misc/fastrpc-cdsp").mkdir(parents=True)
    assert [(each.kind, each.vendor, each.driver) for each in linux.devices(tmp_path)] == [
        ("gpu", "Qualcomm", "msm"),
        ("npu", "", "rocket"),
        ("npu", "Qualcomm", "fastrpc"),
    ]


@pytest.mark.parametrize("text", ["", "0x", "nonsense", "0x1234567890abcdef"])
def test_odd_files_of_the_system_are_no_devices(tmp_path: Path, text: str) -> None:
    pci(tmp_path, "0000:00:01.0", (text, text, text))
    assert linux.devices(tmp_path) == ()
    assert linux.devices(tmp_path / "absent") == ()


def test_nvidia_smi_adds_memory_and_what_the_system_does_not_show() -> None:
    shown = Device("gpu", "AD104GL [L4]", "NVIDIA", "nvidia", "", 0, "0000:01:00.0")
    other = Device("gpu", "Intel Arc", "Intel", "xe", "", 0, "0000:03:00.0")
    told = Device("gpu", "NVIDIA L4", "NVIDIA", "nvidia", "580.95.05", 23034 << 20, "0000:01:00.0")
    assert nvidia.named((shown, other), SMI) == (told, other)
    assert nvidia.named((), SMI) == (
        told._replace(place="00000000:01:00.0"),
    )  # in WSL there is no PCI device
    assert nvidia.named((shown,), "") == (shown,)


def test_windows_tables_become_devices() -> None:
    gpus = [
        {
            "Name": "NVIDIA GeForce RTX 4070",
            "AdapterCompatibility": "NVIDIA",
            "DriverVersion": "32.0.15.6094",
            "AdapterRAM": 4293918720,
        },
        {"Name": "Microsoft Basic Display Adapter", "AdapterCompatibility": "(Standard)"},
        {"Name": "Intel(R) Arc(TM)", "AdapterCompatibility": "Intel Corporation", "AdapterRAM": 2147479552},
    ]
    npu = {"DeviceName": "Intel(R) AI Boost", "Manufacturer": "Intel Corporation", "DriverVersion": "32.0"}
    assert windows.read_tables(json.dumps(gpus), json.dumps(npu)) == (
        Device("gpu", "NVIDIA GeForce RTX 4070", "NVIDIA", "WDDM", "32.0.15.6094"),
        Device("gpu", "Intel(R) Arc(TM)", "Intel", "WDDM", "", 2147479552),
        Device("npu", "Intel(R) AI Boost", "Intel", "MCDM", "32.0"),
    )
    assert windows.read_tables("", "no JSON") == ()


def test_a_macs_profile_becomes_devices() -> None:
    gpu = {"sppci_model": "Apple M4", "spdisplays_vendor": "sppci_vendor_Apple"}
    text = json.dumps({"SPDisplaysDataType": [gpu | {"sppci_device_type": "spdisplays_gpu"}]})
    found = macos.read_displays(text, is_apple=True)
    assert [(each.kind, each.name, each.vendor) for each in found] == [
        ("gpu", "Apple M4", "Apple"),
        ("npu", "Apple Neural Engine", "Apple"),
    ]
    assert macos.read_displays("", is_apple=False) == ()


def test_this_machine_can_be_looked_at() -> None:
    assert all(device.kind in ("gpu", "npu") for device in devices.found())
    found = cpu.processor()
    assert found.model
    assert 1 <= found.num_allowed <= found.num_threads


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("fpu sse4_2 avx avx2 fma avx512f avx512_vnni", "SSE4.2 AVX AVX2 FMA AVX-512 AVX-512·VNNI"),
        ("amx_tile amx_int8 avx_vnni", "AVX-VNNI AMX AMX·INT8"),
        ("fp asimd asimddp i8mm sve", "NEON dot·product I8MM SVE"),
        ("", ""),
    ],
)
def test_instructions_have_the_names_that_people_know(flags: str, names: str) -> None:
    assert [name.replace(" ", "·") for name in cpu.features(flags.split())] == names.split()
