"""What a run was made on: the machine, the date, and the version of everything that took part."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.servers import OF_HUTCH, OF_LLAMA_SERVER, Peer, Setup
from hutch import __version__
from hutch.core.errors import HutchError
from hutch.hardware import cpu, memory

_PACKAGES = ("xllamacpp", "onnxruntime")
_FOUNDRY = "import importlib.metadata as m; print(m.version('foundry-local-sdk'))"


def described() -> dict[str, Any]:
    """The machine, today."""
    processor = cpu.processor()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor.model.strip(),
        "cores": processor.num_allowed,
        "memory_gib": round(memory.memory_bytes()[1] / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def versions(setup: Setup, peers: Sequence[Peer]) -> dict[str, str]:
    """The versions of what takes part; what does not tell its own is left out."""
    kinds = {peer.kind for peer in peers}
    found: dict[str, str] = {}
    if kinds & {*OF_HUTCH}:
        found |= {"hutch": __version__, **{name: _package(name) for name in _PACKAGES}}
    if kinds & {"hutch-built", *OF_LLAMA_SERVER}:
        found["llama-server"] = _engine(setup)
    if "ollama" in kinds and setup.ollama:
        found["ollama"] = _said(str(setup.ollama), "--version")
    if "foundry" in kinds and setup.foundry:
        found["foundry-local-sdk"] = _said(str(setup.foundry), "-c", _FOUNDRY)
    return {name: text for name, text in found.items() if text}


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _engine(setup: Setup) -> str:
    """The source of an engine that Hutch built, and what the binary calls itself."""
    try:
        path = setup.engine()
    except (OSError, RuntimeError, HutchError):
        return ""
    record = path.with_name("engine.json")
    source = f", built from {json.loads(record.read_text())['source']}" if record.is_file() else ""
    return f"{_said(str(path), '--version').removeprefix('version: ')}{source}"


def _said(*argv: str) -> str:
    """The first line that a command prints, on either output."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=30, check=False, cwd=Path("/")
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")
