"""How busy GPUs are, by what nvidia-smi prints."""

import time
from pathlib import Path

import pytest

from hutch.core.hardware import GpuUse
from hutch.hardware import nvidia, processes

TABLE = """0, NVIDIA H200, 37, 1024, 143771
1, NVIDIA GeForce GTX 750, [N/A], 12, 2048
2, NVIDIA Orin (nvgpu), [Not Supported], [N/A], [N/A]
no table, at all
"""


def _nvidia_smi(folder: Path, text: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_what_is_told_and_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table").write_text(TABLE)
    _nvidia_smi(tmp_path, f"exec /bin/cat {tmp_path}/table")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.in_use() == (
        GpuUse("0", "NVIDIA H200", 0.37, 1 << 30, 143771 << 20),
        GpuUse("1", "NVIDIA GeForce GTX 750", None, 12 << 20, 2 << 30),
        GpuUse("2", "NVIDIA Orin (nvgpu)", None, None, None),
    )


@pytest.mark.parametrize("text", ["exit 9", "exec /bin/sleep 20", ""])
def test_a_driver_that_fails_or_hangs_has_no_gpus(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nvidia_smi(tmp_path, text)
    monkeypatch.setenv("PATH", str(tmp_path))
    began = time.monotonic()
    assert nvidia.in_use() == ()
    assert time.monotonic() - began < 8


def test_without_the_program_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.in_use() == ()


def test_a_process_that_is_gone_has_taken_nothing_that_is_known() -> None:
    assert processes.cpu_seconds(1 << 30) is None
