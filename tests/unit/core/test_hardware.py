"""Preferences, and the plans that they become."""

import pytest

from hutch.core.errors import BadInput
from hutch.core.hardware import (
    BY_SHORT_NAME,
    Device,
    Offer,
    needs_a_look,
    parse_hardware,
    plan_hardware,
    split_item,
)

INTEL_NPU = Device("npu", "Intel AI Boost", "Intel", "intel_vpu")
INTEL_GPU = Device("gpu", "Intel Arc", "Intel", "xe")
NVIDIA_GPU = Device("gpu", "NVIDIA L4", "NVIDIA", "nvidia")
OPENVINO = Offer("openvino", "1.8.1", (INTEL_NPU, INTEL_GPU, Device("cpu", "Core Ultra", "Intel")))
WEBGPU = Offer("webgpu", "0.4.0", (NVIDIA_GPU,))
BROKEN_CUDA = Offer("cuda", "1.31", problem="libcudart.so.13: cannot open shared object file")


@pytest.mark.parametrize(
    ("said", "items"),
    [
        ("npu,gpu,cpu", ("npu", "gpu", "cpu")),
        (" NPU , gpu\tcpu,,npu ", ("npu", "gpu", "cpu")),
        (["gpu", "openvino:cpu"], ("gpu", "openvino:cpu")),
        ("tensorrt-rtx", ("tensorrt-rtx",)),
        ("", ()),
        ((), ()),
    ],
)
def test_a_preference_is_a_list_of_kinds_and_providers(said: object, items: tuple[str, ...]) -> None:
    assert parse_hardware(said) == items


@pytest.mark.parametrize(
    "said", ["tpu", "npu;gpu", "openvino:tpu", "cuda:npu", "cpu:cpu:cpu", ":cpu", "gpu:", 7, ["cpu", 1], None]
)
def test_what_is_no_preference_is_refused_by_name(said: object) -> None:
    with pytest.raises(BadInput, match="hardware") as raised:
        parse_hardware(said)
    assert raised.value.param == "hardware"


def test_a_preference_has_bounds() -> None:
    kinds = [f"{short}:{kind}" for short, each in BY_SHORT_NAME.items() for kind in each.kinds]
    with pytest.raises(BadInput, match="at most 16"):
        parse_hardware(kinds)


@pytest.mark.parametrize(
    ("preference", "offers", "devices", "steps", "reasons"),
    [
        ("", (), (), ["cpu"], {}),
        ("cpu", (OPENVINO,), (INTEL_GPU,), ["cpu"], {}),
        (
            "npu,gpu,cpu",
            (),
            (),
            ["cpu"],
            {"npu": "this machine shows no NPU", "gpu": "this machine shows no GPU"},
        ),
        (
            "npu,gpu,cpu",
            (OPENVINO, WEBGPU),
            (INTEL_NPU, INTEL_GPU),
            ["openvino:npu", "openvino:gpu", "webgpu:gpu", "cpu"],
            {},
        ),
        (
            "npu,cpu",
            (),
            (INTEL_NPU,),
            ["cpu"],
            {
                "npu": "no provider can use Intel AI Boost (openvino: not installed: pip install onnxruntime-ep-openvino)"
            },
        ),
        ("cuda,gpu", (BROKEN_CUDA, WEBGPU), (NVIDIA_GPU,), ["webgpu:gpu"], {"cuda": "libcudart"}),
        ("openvino:cpu,cpu", (OPENVINO,), (), ["openvino:cpu", "cpu"], {}),
        ("openvino", (OPENVINO,), (), ["openvino:npu", "openvino:gpu", "openvino:cpu"], {}),
        ("qnn,openvino:cpu", (), (), [], {"qnn": "not installed", "openvino:cpu": "not installed"}),
        (
            "openvino:npu,cpu",
            (Offer("openvino", "1", (Device("cpu", "x"),)),),
            (),
            ["cpu"],
            {"openvino:npu": "it offers no NPU here, but CPU"},
        ),
        ("coreml,cpu", (), (), ["cpu"], {"coreml": "not in this build"}),
    ],
)
def test_a_plan_has_what_is_there_in_order_and_a_reason_for_all_else(
    preference: str,
    offers: tuple[Offer, ...],
    devices: tuple[Device, ...],
    steps: list[str],
    reasons: dict[str, str],
) -> None:
    plan = plan_hardware(parse_hardware(preference), offers, devices)
    assert [step.label for step in plan.steps] == steps
    assert [passed.wanted for passed in plan.passed_over] == list(reasons)
    for passed in plan.passed_over:
        assert reasons[passed.wanted] in passed.reason


def test_a_gpu_without_a_fitting_provider_says_what_each_one_lacks() -> None:
    plan = plan_hardware(("gpu",), (BROKEN_CUDA,), (NVIDIA_GPU,))
    [passed] = plan.passed_over
    assert "NVIDIA L4" in passed.reason
    assert "cuda: libcudart" in passed.reason
    assert "onnxruntime-ep-nv-tensorrt-rtx" in passed.reason
    assert "openvino" not in passed.reason  # which is for another maker's devices


def test_a_plans_labels_can_be_read_again() -> None:
    plan = plan_hardware(("npu", "gpu", "cpu"), (OPENVINO, WEBGPU), (INTEL_NPU, NVIDIA_GPU))
    labels = [step.label for step in plan.steps]
    assert parse_hardware(labels) == tuple(labels)
    assert [split_item(label) for label in labels[:-1]] == [tuple(step) for step in plan.steps[:-1]]


def test_only_the_cpu_needs_no_look_at_the_machine() -> None:
    assert not needs_a_look(())
    assert not needs_a_look(("cpu",))
    assert needs_a_look(("cpu", "gpu"))
