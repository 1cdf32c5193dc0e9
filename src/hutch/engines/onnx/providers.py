"""Execution providers of ONNX Runtime: plugins registered, sessions opened by an ordered plan, and why one was stepped down from."""

import importlib
import importlib.util
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from hutch.core.errors import EngineFailed
from hutch.core.hardware import BY_SHORT_NAME, PROVIDERS, Device, Offer, Provider, SteppedDown, split_item

_log = logging.getLogger(__name__)
_MAX_REASON_CHARS = 300
_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_REGISTERED: set[str] = set()
_WHO_RUNS_WHAT = "session.record_ep_graph_assignment_info"


class ProviderFailed(Exception):
    """A provider does not do what it was chosen for. Its text is the reason that people are told."""


# ONNX Runtime's own errors have no class in common but Exception.
_FAILURES: tuple[type[Exception], ...] = (
    *(OSError, ImportError, AttributeError, RuntimeError, ValueError, ProviderFailed, EngineFailed),
    *(error for error in vars(state).values() if isinstance(error, type) and issubclass(error, Exception)),
)


class Opened(NamedTuple):
    """A session, the provider that runs it as a plan names it, and what was stepped down from before it."""

    session: ort.InferenceSession
    provider: str
    fallbacks: tuple[SteppedDown, ...]


def open_session(
    model: Path | bytes,
    plan: Sequence[str],
    make_options: Callable[[], ort.SessionOptions],
    check: Callable[[ort.InferenceSession, str], None] = lambda _session, _item: None,
) -> Opened:
    """Open a model, a file or the bytes of one, with the first provider of the plan that can run it; an empty plan is the CPU.

    `plan` has items such as `openvino:npu` and `cpu`. `check` looks at an opened session and its item, and
    raises ProviderFailed where it will not do. Raises EngineFailed, with every reason, where no provider of the plan runs the model.
    """
    fallbacks: list[SteppedDown] = []
    for item in plan or ("cpu",):
        try:
            session = _open(model, item, make_options())
            check(session, item)
        except _FAILURES as error:
            fallbacks.append(SteppedDown(item, reason_of(error)))
            name = model.name if isinstance(model, Path) else "the graph"
            _log.warning("%s does not run %s: %s", item, name, fallbacks[-1].reason)
        else:
            return Opened(session, item, tuple(fallbacks))
    reasons = "; ".join(f"{wanted}: {reason}" for wanted, reason in fallbacks)
    raise EngineFailed(
        f"no execution provider of the plan runs the model: {reasons}",
        hint="Add cpu to the hardware that may be used, or see `hutch hardware`.",
    )


def offer(short: str) -> Offer:
    """What a provider offers on this machine. Loads its plugin, where it is one."""
    provider = BY_SHORT_NAME[short]
    try:
        version = register(provider)
    except _FAILURES as error:
        return Offer(short, problem=reason_of(error))
    devices = tuple(_device(each) for each in _devices(provider))
    if not devices and provider.name in ort.get_available_providers():
        devices = tuple(Device(kind, provider.name) for kind in provider.kinds)  # a built-in one tells none
    made_for = f"; it is made for {' and '.join(provider.vendors)}" if provider.vendors else ""
    problem = "" if devices else f"installed, but it sees no device here that it can use{made_for}"
    return Offer(short, version, devices, problem)


def register(provider: Provider) -> str:
    """Make a provider known to ONNX Runtime; returns its version. Raises ProviderFailed where it is not installed."""
    if provider.name in ort.get_available_providers():
        return str(ort.__version__)
    if not provider.module:
        raise ProviderFailed(
            f"not in this build of ONNX Runtime; {provider.package} has it"
            if provider.package
            else "not in this build of ONNX Runtime"
        )
    if importlib.util.find_spec(provider.module) is None:
        raise ProviderFailed(f"not installed: pip install {provider.package}")
    if provider.name not in _REGISTERED:  # it takes a library once, also one that sees no device
        ort.register_execution_provider_library(provider.name, library_of(provider))
        _REGISTERED.add(provider.name)
    return _version(provider)


def library_of(provider: Provider) -> str:
    """The file of a plugin."""
    plugin = importlib.import_module(provider.module)
    find = getattr(plugin, "get_library_path", None) or plugin.library_path
    return str(find())


def reason_of(error: BaseException) -> str:
    """An error in one line that people can read: of OpenVINO's chains of sources the last."""
    lines = [line.strip() for line in _CODE.sub("", str(error)).splitlines() if line.strip()]
    words = [line for line in lines if not line.startswith(("Exception from", "Check '"))] or lines
    return (words[0] if words else type(error).__name__)[:_MAX_REASON_CHARS]


def _open(model: Path | bytes, item: str, options: ort.SessionOptions) -> ort.InferenceSession:
    source = str(model) if isinstance(model, Path) else model
    short, kind = split_item(item) if item != "cpu" else ("cpu", "cpu")
    provider = BY_SHORT_NAME[short]
    if provider.short == "cpu":
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    register(provider)
    options.add_session_config_entry(_WHO_RUNS_WHAT, "1")
    chosen = [device for device in _devices(provider) if kind in ("", _kind(device))]
    if chosen:
        options.add_provider_for_devices(chosen[:1], {})
        session = ort.InferenceSession(source, options, enable_fallback=0)
    elif provider.name in ort.get_available_providers():
        built_in = [(provider.name, _built_in_options(provider, kind)), "CPUExecutionProvider"]
        session = ort.InferenceSession(source, options, providers=built_in, enable_fallback=0)
    else:
        raise ProviderFailed(f"it sees no {kind.upper() or 'device'} here that it can use")
    _check_share(session)
    return session


def _check_share(session: ort.InferenceSession) -> None:
    """Raise ProviderFailed where all of the graph went to the CPU: ONNX Runtime does that without a word."""
    shares: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        shares[part.ep_name] = shares.get(part.ep_name, 0) + len(part.get_nodes())
    if not any(num for name, num in shares.items() if name != "CPUExecutionProvider"):
        raise ProviderFailed(f"it takes none of the model's {sum(shares.values())} operators")


def _devices(provider: Provider) -> list[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == provider.name]


def _device(told: Any) -> Device:
    facts = told.ep_metadata
    name = facts.get("FULL_DEVICE_NAME") or told.device.metadata.get("Description") or told.device.vendor
    return Device(_kind(told), str(name), str(told.device.vendor))


def _kind(told: Any) -> str:
    return str(told.device.type).rsplit(".", 1)[-1].lower()


def _built_in_options(provider: Provider, kind: str) -> dict[str, str]:
    return {"device_type": kind.upper()} if provider.short == "openvino" and kind else {}


def _version(provider: Provider) -> str:
    try:
        return metadata.version(provider.package)
    except metadata.PackageNotFoundError:  # TensorRT-RTX's package has a name for each version of CUDA
        return str(getattr(importlib.import_module(provider.module), "__version__", ""))


def installed(shorts: Iterable[str] = BY_SHORT_NAME) -> list[str]:
    """The providers that are there to be asked: built in, or with a package."""
    built_in = ort.get_available_providers()
    return [
        provider.short
        for provider in PROVIDERS
        if provider.short in shorts
        and (
            provider.name in built_in
            or (provider.module and importlib.util.find_spec(provider.module) is not None)
        )
    ]
