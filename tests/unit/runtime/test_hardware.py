"""Probes that crash, hang and babble; what becomes of a preference when a model is loaded."""

import asyncio
import sys
from pathlib import Path

import pytest

from hutch.core.errors import EngineFailed
from hutch.core.hardware import Device, HardwarePlan, Offer, SteppedDown
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.runtime import hardware
from hutch.runtime.hardware import Inventory, Probed, gguf_hardware, list_devices, probe
from hutch.runtime.launch import layers_on_gpu
from hutch.runtime.onnx_launch import RanOn


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """A probe of our own, which a process of its own finds."""
    (folder / "a_probe.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "a_probe"


@pytest.mark.parametrize(
    ("text", "told", "problem"),
    [
        ("print('hello'); print('{\"a\": 1}'); print('bye')", {"a": 1}, ""),
        ("import os; os.abort()", {}, "its probe ended with SIGABRT"),
        ("raise ImportError('no libgomp')", {}, "status 1: ImportError: no libgomp"),
        ("print('nothing')", {}, "printed no answer"),
        ("print('{broken')", {}, "printed no answer"),
    ],
)
def test_what_goes_wrong_in_a_probe_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: dict[str, int], problem: str
) -> None:
    found = asyncio.run(probe(module(tmp_path, monkeypatch, text)))
    assert found.told == told
    assert problem in found.problem
    assert bool(problem) is bool(found.problem)


def test_a_probe_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_WITHIN_S", 0.5)
    found = asyncio.run(probe(module(tmp_path, monkeypatch, "import time; time.sleep(60)")))
    assert "did not end within 0.5 s" in found.problem


def test_a_program_that_is_not_there_is_a_problem_too() -> None:
    found = asyncio.run(Inventory().llama_cpp("/no/llama-server"))
    assert "/no/llama-server" in found.problem


def test_a_llama_servers_list_of_devices_is_read() -> None:
    text = "Available devices:\n  CUDA0: NVIDIA L4 (Ada) (23034 MiB, 22561 MiB free)\n  CPU: x (5 MiB, 4 MiB free)\nrest"
    assert list_devices(text) == [
        {
            "name": "CUDA0",
            "description": "NVIDIA L4 (Ada)",
            "kind": "gpu",
            "memory_bytes": 23034 << 20,
            "free_bytes": 22561 << 20,
        },
        {"name": "CPU", "description": "x", "kind": "cpu", "memory_bytes": 5 << 20, "free_bytes": 4 << 20},
    ]


def test_for_the_cpu_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")
    plan = asyncio.run(Inventory().plan(("cpu",)))
    assert [step.label for step in plan.steps] == ["cpu"]


def test_a_broken_probe_leaves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")
    plan = asyncio.run(Inventory().plan(("openvino:cpu", "cpu")))
    assert [step.label for step in plan.steps] == ["cpu"]
    assert [passed.wanted for passed in plan.passed_over] == ["openvino:cpu"]


def test_everything_is_told_of_this_machine() -> None:
    told = asyncio.run(Inventory().told(("npu", "cpu"), ""))
    assert told["cpu"]["num_cores"] >= 1
    assert told["memory"]["total_bytes"] >= told["memory"]["free_bytes"] > 0
    providers = {each["name"]: each for each in told["onnxruntime"]["providers"]}
    assert providers["cpu"]["installed"]
    assert providers["cpu"]["devices"]
    assert providers["webgpu"]["package"] == "onnxruntime-ep-webgpu"
    assert told["llama_cpp"]["devices"][0]["kind"] == "cpu"
    assert told["plan"][-1] == "cpu"
    for each in providers.values():
        assert bool(each["devices"]) is not bool(each["problem"]), each


def gguf_plan(*preference: str) -> LaunchPlan:
    return LaunchPlan("w.gguf", Endpoint(), 512, 1, 512, 512, 1, hardware=preference)


@pytest.mark.parametrize(
    ("preference", "kinds", "runs"),
    [
        ((), ["cpu"], True),
        (("npu", "gpu", "cpu"), ["cpu"], True),
        (("gpu",), ["cpu", "gpu"], True),
        (("gpu",), ["cpu"], False),
        (("npu",), ["cpu", "gpu"], False),
    ],
)
def test_a_gguf_model_that_may_not_run_on_the_cpu_does_not(
    preference: tuple[str, ...], kinds: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def devices(_self: Inventory, _binary: str) -> Probed:
        return Probed({"devices": [{"kind": kind} for kind in kinds]})

    monkeypatch.setattr(Inventory, "llama_cpp", devices)
    if runs:
        asyncio.run(gguf_hardware(gguf_plan(*preference), Inventory()))
        return
    with pytest.raises(EngineFailed, match="no device for hardware"):
        asyncio.run(gguf_hardware(gguf_plan(*preference), Inventory()))


@pytest.mark.parametrize(
    ("preference", "num_gpu", "expected"),
    [
        ((), -1, -1),
        (("cpu",), -1, 0),
        (("cpu", "gpu"), -1, 0),
        (("npu", "cpu"), -1, 0),
        (("gpu", "cpu"), -1, -1),
        (("cuda:gpu", "cpu"), -1, -1),
        (("cpu",), 5, 5),
    ],
)
def test_the_cpu_before_the_gpu_means_no_layers_on_it(
    preference: tuple[str, ...], num_gpu: int, expected: int
) -> None:
    assert layers_on_gpu(preference, num_gpu) == expected


def test_what_a_model_runs_on_tells_all_steps_down_once() -> None:
    before = RanOn("why", (SteppedDown("npu", "none"),))
    engine = {
        "name": "onnxruntime-genai",
        "version": "0.18.0",
        "providers": ["cpu"],
        "fallbacks": [{"provider": "cuda:gpu", "reason": "no library"}],
    }
    after = before.by(engine)
    assert after.by(engine) == after  # a worker that was replaced says it again
    assert after.told == {
        "runner": "onnxruntime-genai",
        "version": "0.18.0",
        "reason": "why",
        "provider": "cpu",
        "fallbacks": [
            {"provider": "npu", "reason": "none"},
            {"provider": "cuda:gpu", "reason": "no library"},
        ],
    }
    assert after.without("webgpu:gpu", "it crashed").steps_down[-1] == ("webgpu:gpu", "it crashed")


def test_a_plan_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []

    async def ask() -> tuple[Probed, tuple[Offer, ...]]:
        asked.append(None)
        return Probed({}), (Offer("openvino", "1", (Device("npu", "NPU"),)),)

    monkeypatch.setattr(hardware, "_ask_onnx", ask)
    inventory = Inventory()

    async def twice() -> list[HardwarePlan]:
        return [await inventory.plan(("npu", "cpu")) for _ in range(2)]

    plans = asyncio.run(twice())
    assert [step.label for step in plans[0].steps] == ["openvino:npu", "cpu"]
    assert plans[0] == plans[1]
    assert len(asked) == 1
