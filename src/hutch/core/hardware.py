"""Kinds of devices, the execution providers that use them, and how a person says which come first. Pure."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from hutch.core.errors import BadInput

KINDS = ("npu", "gpu", "cpu")
_MAX_ITEMS = 16


class Provider(NamedTuple):
    """An execution provider of ONNX Runtime.

    `name` is ONNX Runtime's; `kinds` are the devices that it can use; `vendors` those whose, where not anybody's.
    `genai` is what ONNX Runtime GenAI calls it, "" where it does not know it.
    With a `module`, `package` is a plugin from PyPI that ONNX Runtime loads; without one it is a build of ONNX Runtime
    that has the provider in it, and "" is every build.
    """

    short: str
    name: str
    kinds: tuple[str, ...]
    vendors: tuple[str, ...] = ()
    package: str = ""
    module: str = ""
    genai: str = ""


class GpuUse(NamedTuple):
    """How much of a GPU is in use. `busy` is a share of 1. None where the driver does not say."""

    number: str
    name: str
    busy: float | None
    used_bytes: int | None
    total_bytes: int | None


# In the order in which they are tried for a kind: what a device's maker wrote before what works on any.
PROVIDERS = (
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        KINDS,
        ("Intel",),
        "onnxruntime-ep-openvino",
        "onnxruntime_ep_openvino",
        genai="OpenVINO",
    ),
    Provider(
        "qnn", "QNNExecutionProvider", KINDS, ("Qualcomm",), "onnxruntime-qnn", "onnxruntime_qnn", genai="QNN"
    ),
    Provider(
        "tensorrt-rtx",
        "NvTensorRTRTXExecutionProvider",
        ("gpu",),
        ("NVIDIA",),
        "onnxruntime-ep-nv-tensorrt-rtx",
        "onnxruntime_ep_nv_tensorrt_rtx",
        genai="NvTensorRtRtx",
    ),
    Provider("cuda", "CUDAExecutionProvider", ("gpu",), ("NVIDIA",), "onnxruntime-gpu", genai="cuda"),
    Provider(
        "migraphx", "MIGraphXExecutionProvider", ("gpu",), ("AMD",), "onnxruntime-migraphx", genai="MIGraphX"
    ),
    Provider("coreml", "CoreMLExecutionProvider", KINDS, ("Apple",)),
    Provider("directml", "DmlExecutionProvider", ("gpu",), (), "onnxruntime-directml", genai="dml"),
    Provider(
        "webgpu",
        "WebGpuExecutionProvider",
        ("gpu",),
        (),
        "onnxruntime-ep-webgpu",
        "onnxruntime_ep_webgpu",
        genai="webgpu",
    ),
    Provider("ggml", "ggml", ("gpu", "cpu"), (), "onnxruntime-ggml", "onnxruntime_ggml"),
    Provider("cpu", "CPUExecutionProvider", ("cpu",)),
)
BY_SHORT_NAME = {provider.short: provider for provider in PROVIDERS}


class Device(NamedTuple):
    """A device of this machine. `driver` is "" where none is bound to it; `memory_bytes` is 0 where that is not known."""

    kind: str
    name: str
    vendor: str = ""
    driver: str = ""
    driver_version: str = ""
    memory_bytes: int = 0
    place: str = ""  # where the system shows it


def parse_hardware(said: object) -> tuple[str, ...]:
    """Read a preference: `npu,gpu,cpu`, as text or as a list. An empty one is (). Raises BadInput.

    Each item is a kind of device, a provider (`openvino`), or a provider on a kind (`openvino:npu`).
    """
    parts = re.split(r"[,\s]+", said) if isinstance(said, str) else said
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise BadInput('option "hardware" must be a text, such as "npu,gpu,cpu"', param="hardware")
    items = tuple(dict.fromkeys(part.strip().lower() for part in parts if part.strip()))
    if len(items) > _MAX_ITEMS:
        raise BadInput(f'option "hardware" takes at most {_MAX_ITEMS} items', param="hardware")
    for item in items:
        _check(item)
    return items


def split_item(item: str) -> tuple[str, str]:
    """The provider and the kind of device that an item names; "" for the one that it leaves open."""
    if item in KINDS:
        return "", item
    provider, _, kind = item.partition(":")
    return provider, kind


def _check(item: str) -> None:
    short, kind = split_item(item)
    if item in KINDS:
        return
    provider = BY_SHORT_NAME.get(short)
    if provider is None:
        known = ", ".join((*KINDS, *(each.short for each in PROVIDERS if each.short not in KINDS)))
        raise BadInput(f"hardware {item[:40]!r} is not known", hint=f"Known are: {known}.", param="hardware")
    if (":" in item) and kind not in provider.kinds:
        raise BadInput(
            f"hardware {item[:40]!r}: {short} runs on {' and '.join(provider.kinds)}", param="hardware"
        )


class Offer(NamedTuple):
    """What an execution provider has to offer here.

    `devices` are the devices that it would use; `problem` says why there are none, or why it cannot be loaded.
    """

    short: str
    version: str = ""
    devices: tuple[Device, ...] = ()
    problem: str = ""


class Step(NamedTuple):
    """One provider on one kind of device, to be tried."""

    provider: str
    kind: str

    @property
    def label(self) -> str:
        """As a preference names it: `openvino:npu`, `cuda:gpu`, `cpu`."""
        return self.kind if self.provider == self.kind else f"{self.provider}:{self.kind}"


class SteppedDown(NamedTuple):
    """What was wanted and is not used, and why."""

    wanted: str
    reason: str


class HardwarePlan(NamedTuple):
    """The providers to try, in order, and what was passed over on the way."""

    steps: tuple[Step, ...]
    passed_over: tuple[SteppedDown, ...] = ()


def needs_a_look(preference: Sequence[str]) -> bool:
    """Whether a plan needs to know what is there; the CPU always is."""
    return any(item != "cpu" for item in preference)


def plan_hardware(
    preference: Sequence[str], offers: Sequence[Offer], devices: Sequence[Device]
) -> HardwarePlan:
    """The ordered plan for a preference, with the reason for each step down.

    `offers` are the providers that are installed, `devices` what the system shows. A list without `cpu` means that the
    CPU is not to be used; an empty list means the CPU.
    """
    offered = {offer.short: offer for offer in offers}
    steps: dict[Step, None] = {}
    passed: list[SteppedDown] = []
    for item in preference or ("cpu",):
        found = [step for step in _steps(item) if _fits(step, offered)]
        steps |= dict.fromkeys(found)
        if not found:
            passed.append(SteppedDown(item, _why_not(item, offered, devices)))
    return HardwarePlan(tuple(steps), tuple(passed))


def _steps(item: str) -> list[Step]:
    """All that an item can mean, best first. The kind `cpu` means ONNX Runtime's own provider alone."""
    short, kind = split_item(item)
    if item == "cpu":
        return [Step("cpu", "cpu")]
    if short:
        return [Step(short, each) for each in BY_SHORT_NAME[short].kinds if kind in ("", each)]
    return [Step(provider.short, kind) for provider in PROVIDERS if kind in provider.kinds]


def _fits(step: Step, offered: dict[str, Offer]) -> bool:
    if step == Step("cpu", "cpu"):
        return True
    offer = offered.get(step.provider)
    return offer is not None and any(device.kind == step.kind for device in offer.devices)


def _why_not(item: str, offered: dict[str, Offer], devices: Sequence[Device]) -> str:
    short, kind = split_item(item)
    if short:
        return _why_not_provider(short, kind, offered)
    there = [device for device in devices if device.kind == kind]
    if not there:
        return f"this machine shows no {kind.upper()}"
    vendors = {device.vendor for device in there}
    names = " and ".join(device.name for device in there)
    fitting = [p for p in PROVIDERS if kind in p.kinds and (not p.vendors or vendors & set(p.vendors))]
    reasons = "; ".join(f"{p.short}: {_why_not_provider(p.short, kind, offered)}" for p in fitting)
    return f"no provider can use {names}" + (f" ({reasons})" if reasons else "")


def _why_not_provider(short: str, kind: str, offered: dict[str, Offer]) -> str:
    offer, package = offered.get(short), BY_SHORT_NAME[short].package
    if offer is None:
        return f"not installed: pip install {package}" if package else "not in this build of ONNX Runtime"
    if offer.problem:
        return offer.problem
    has = " and ".join(dict.fromkeys(device.kind.upper() for device in offer.devices))
    return f"it offers no {kind.upper()} here" + (f", but {has}" if has else "")
