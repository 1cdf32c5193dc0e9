"""What this machine has and which engines can use it. Inference libraries are asked in processes of their own."""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from hutch import places
from hutch.core.errors import EngineFailed
from hutch.core.hardware import (
    BY_SHORT_NAME,
    PROVIDERS,
    Device,
    HardwarePlan,
    Offer,
    needs_a_look,
    plan_hardware,
    split_item,
)
from hutch.engines.protocol import PROBES, LaunchPlan
from hutch.hardware import cgroup, cpu, devices, system
from hutch.runtime import machine

_log = logging.getLogger(__name__)
_WITHIN_S = 60.0
_FRESH_S = 300.0  # a driver that was installed since then is seen


class Probed(NamedTuple):
    """What a probe told, or why it told nothing."""

    told: dict[str, Any]
    problem: str = ""


class Inventory:
    """Looks at the machine's engines when that is asked for, and remembers for a while what was seen."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._offers: tuple[Probed, tuple[Offer, ...]] | None = None
        self._looked_at = 0.0

    async def plan(self, preference: Sequence[str]) -> HardwarePlan:
        """The providers to try for an ONNX model. Asks nobody where only the CPU is wanted."""
        if not needs_a_look(preference):
            return plan_hardware(preference, (), ())
        _, offers = await self.onnx()
        return plan_hardware(preference, offers, await asyncio.to_thread(devices.found))

    async def onnx(self, *, anew: bool = False) -> tuple[Probed, tuple[Offer, ...]]:
        """What ONNX Runtime says of itself, and the offers of all providers that are there to be asked."""
        async with self._lock:
            is_stale = time.monotonic() - self._looked_at > _FRESH_S
            if anew or is_stale or self._offers is None:
                self._offers = await _ask_onnx()
                self._looked_at = time.monotonic()
            return self._offers

    async def llama_cpp(self, binary: str) -> Probed:
        """The devices that llama.cpp names: the engine that comes with Hutch, or this llama-server."""
        if not binary:
            return await probe(PROBES["llama.cpp"])
        text, problem = await _run(binary, "--list-devices")
        return Probed({"devices": list_devices(text)}, problem)

    async def told(self, preference: Sequence[str], binary: str) -> dict[str, Any]:
        """Everything, as `/api/hardware` has it. `binary`: the llama-server in use; "" is the built-in engine."""
        (onnx, offers), llama_cpp, found, processor = await asyncio.gather(
            self.onnx(anew=True),
            self.llama_cpp(binary),
            asyncio.to_thread(devices.found),
            asyncio.to_thread(cpu.processor),
        )
        free_bytes, total_bytes = machine.memory_bytes()
        plan = plan_hardware(preference, offers, found)
        return {
            "cpu": processor._asdict() | {"num_cores": machine.num_cores()},
            "memory": {
                "total_bytes": total_bytes,
                "free_bytes": free_bytes,
                "limit_bytes": cgroup.limits(system.read).memory_bytes,
            },
            "devices": [device._asdict() for device in found],
            "onnxruntime": {
                "version": onnx.told.get("version", ""),
                "genai_version": onnx.told.get("genai_version", ""),
                "providers": [_provider(short, offers) for short in BY_SHORT_NAME],
                "problem": onnx.problem,
            },
            "llama_cpp": {"binary": binary} | llama_cpp.told | {"problem": llama_cpp.problem},
            "preference": list(preference),
            "plan": [step.label for step in plan.steps],
            "passed_over": [passed._asdict() for passed in plan.passed_over],
        }


async def gguf_hardware(plan: LaunchPlan, inventory: Inventory) -> None:
    """Raise EngineFailed where a GGUF model may not run on the CPU, and llama.cpp has nothing else."""
    kinds = {split_item(item)[1] for item in plan.hardware}
    if not plan.hardware or "cpu" in kinds:
        return
    devices_of_it = (await inventory.llama_cpp(plan.binary)).told.get("devices", ())
    if not any(device["kind"] != "cpu" for device in devices_of_it) or kinds.isdisjoint(("gpu", "")):
        raise EngineFailed(
            f"the engine for GGUF models has no device for hardware {','.join(plan.hardware)!r}",
            hint="Add cpu to the list, or see `hutch hardware`.",
        )


def _provider(short: str, offers: Sequence[Offer]) -> dict[str, Any]:
    """A provider as people are told of it, installed or not."""
    provider = BY_SHORT_NAME[short]
    offer = next((each for each in offers if each.short == short), None)
    missing = f"pip install {provider.package}" if provider.package else "not in this build of ONNX Runtime"
    return {
        "name": short,
        "provider": provider.name,
        "kinds": list(provider.kinds),
        "vendors": list(provider.vendors),
        "package": provider.package,
        "is_plugin": bool(provider.module),
        "installed": offer is not None,
        "version": offer.version if offer else "",
        "devices": [device._asdict() for device in offer.devices] if offer else [],
        "problem": offer.problem if offer else f"not installed: {missing}" if provider.package else missing,
    }


async def _ask_onnx() -> tuple[Probed, tuple[Offer, ...]]:
    """One probe says which providers are there, then one for each of them: a plugin that crashes does so alone."""
    first = await probe(PROBES["onnx"])
    there = [p.short for p in PROVIDERS if p.short in first.told.get("installed", ())]
    probes = await asyncio.gather(*(probe(PROBES["onnx"], short) for short in there))
    return first, tuple(_offer(short, probed) for short, probed in zip(there, probes, strict=True))


def _offer(short: str, probed: Probed) -> Offer:
    if probed.problem:
        return Offer(short, problem=probed.problem)
    told = probed.told
    listed = tuple(Device(**device) for device in told["devices"])
    return Offer(short, str(told["version"]), listed, str(told["problem"]))


def list_devices(text: str) -> list[dict[str, Any]]:
    """Read what `llama-server --list-devices` prints: `  CUDA0: NVIDIA L4 (23034 MiB, 22561 MiB free)`."""
    line = re.compile(r"^\s+(\w+): (.+) \((\d+) MiB, (\d+) MiB free\)$", re.MULTILINE)
    return [
        {
            "name": name,
            "description": description,
            "kind": "cpu" if name.startswith("CPU") else "gpu",
            "memory_bytes": int(total) << 20,
            "free_bytes": int(free) << 20,
        }
        for name, description, total, free in line.findall(text)
    ]


async def probe(module: str, *arguments: str) -> Probed:
    """Run a probe and read the last line that it printed. A crash or a hang of it is a problem to tell, no error."""
    text, problem = await _run(sys.executable, "-P", "-m", module, *arguments)
    if problem:
        return Probed({}, problem)
    lines = [
        line for line in text.splitlines() if line.startswith("{")
    ]  # a plugin may print things of its own
    try:
        return Probed(json.loads(lines[-1]))
    except (IndexError, ValueError):
        return Probed({}, "its probe printed no answer")


async def _run(*words: str) -> tuple[str, str]:
    """What a program prints, and what is wrong with it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=places.worker_environment(),
        )
    except OSError as error:
        return "", str(error)
    try:
        out, err = await asyncio.wait_for(process.communicate(), _WITHIN_S)
    except TimeoutError:
        return "", f"its probe did not end within {_WITHIN_S:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.communicate())  # to its end, so that nothing of it is left
    text, words_of_it = out.decode(errors="replace"), err.decode(errors="replace").strip().splitlines()
    if process.returncode:
        how = _ended(process.returncode)
        _log.warning("the probe %s ended with %s", " ".join(words[-2:]), how)
        return text, f"its probe ended with {how}" + (f": {words_of_it[-1][:300]}" if words_of_it else "")
    return text, ""


def _ended(status: int) -> str:
    try:
        return signal.Signals(-status).name if status < 0 else f"status {status}"
    except ValueError:
        return f"signal {-status}"
