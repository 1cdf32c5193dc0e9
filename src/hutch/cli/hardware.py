"""`hutch hardware`: what this machine has, and which engines can use it."""

import argparse
import asyncio
import json
from collections.abc import Iterator
from typing import Any

from hutch import config, places
from hutch.cli import columns, http, plain, side
from hutch.runtime.hardware import Inventory
from hutch.store import installed

Told = dict[str, Any]


def hardware(args: argparse.Namespace) -> None:
    """Print it as a table, or as the API's own JSON. Without a server this process looks itself."""
    told: Told = side.either(lambda: http.ask("GET", "/api/hardware"), "hutch.cli.hardware:look")
    if args.json:
        print(json.dumps(told, indent=2))
        return
    for title, rows in (
        ("Machine", [*_machine(told)]),
        ("Devices", [*_devices(told)]),
        (f"ONNX Runtime {told['onnxruntime']['version']}".rstrip(), [*_providers(told)]),
        ("llama.cpp", [*_llama_cpp(told)]),
        ("Order for ONNX models", [*_plan(told)]),
    ):
        plain.out(title)
        plain.out("\n".join(f"  {line}" for line in columns.lines(rows)) + "\n")


def look() -> Told:
    """What `/api/hardware` would tell."""
    settings = config.load()
    binary = installed.binary_in_use(places.engines(), settings.llama_server)
    return asyncio.run(Inventory().told(settings.hardware, binary))


def _machine(told: Told) -> Iterator[tuple[str, str]]:
    cpu, memory = told["cpu"], told["memory"]
    yield "processor", f"{cpu['model']} ({cpu['architecture']})"
    allowed = f"{cpu['num_allowed']} of {cpu['num_threads']} threads"
    quota = f", time for {cpu['quota_cores']:g} cores" if cpu["quota_cores"] is not None else ""
    yield "cores", f"{cpu['num_cores']} used for inference ({allowed}{quota})"
    yield "instructions", ", ".join(cpu["features"]) or "none that matter are known"
    size = f"{columns.human_size(memory['free_bytes'])} free of {columns.human_size(memory['total_bytes'])}"
    yield "memory", size + (" (limited by a control group)" if memory["limit_bytes"] else "")


def _devices(told: Told) -> Iterator[tuple[str, str, str]]:
    for device in told["devices"]:
        version = f" {device['driver_version']}" if device["driver_version"] else ""
        driver = f"driver {device['driver']}{version}" if device["driver"] else "no driver"
        size = f", {columns.human_size(device['memory_bytes'])}" if device["memory_bytes"] else ""
        yield device["kind"].upper(), device["name"], driver + size
    if not told["devices"]:
        yield "no GPU and no NPU is to be seen", "", ""


def _providers(told: Told) -> Iterator[tuple[str, str]]:
    onnx = told["onnxruntime"]
    if onnx["problem"]:
        yield "problem", onnx["problem"]
    for provider in onnx["providers"]:
        on = ", ".join(f"{each['kind'].upper()} {each['name']}" for each in provider["devices"])
        yield provider["name"], f"{provider['version']} on {on}" if on else provider["problem"]
    genai = onnx["genai_version"] or "not installed: pip install 'hutch[genai]'"
    yield "GenAI, the second runner", genai


def _llama_cpp(told: Told) -> Iterator[tuple[str, str]]:
    engine = told["llama_cpp"]
    yield "engine", engine["binary"] or f"the one that comes with Hutch {engine.get('version', '')}".rstrip()
    if engine["problem"]:
        yield "problem", engine["problem"]
    for device in engine.get("devices", ()):
        yield device["name"], f"{device['description']}, {columns.human_size(device['memory_bytes'])}"


def _plan(told: Told) -> Iterator[tuple[str, str]]:
    yield "preference", ", ".join(told["preference"]) or "what a model was made for, then the CPU"
    yield "tried in this order", ", ".join(told["plan"]) or "nothing: no model can be loaded so"
    for passed in told["passed_over"]:
        yield f"not {passed['wanted']}", passed["reason"]
