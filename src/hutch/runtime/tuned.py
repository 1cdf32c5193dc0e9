"""What `hutch tune` has found for a model, and whether it still holds: tuned/DIGEST.json in HUTCH_HOME.

The digest is of the names, shapes and types of all tensors. They decide what an engine computes, the numbers in them do not: a model's
other names, and other models that were trained from it, share what was found. A finding holds under the conditions that it was made under.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hutch import files
from hutch.core.errors import FormatError
from hutch.engines.protocol import LaunchPlan
from hutch.formats.gguf import GGUF
from hutch.hardware import cpu
from hutch.runtime import machine
from hutch.runtime.engine_build import engine_build
from hutch.store import layout

_log = logging.getLogger(__name__)
_VERSION = 1
_MAX_BYTES = 256 << 10
_MAX_FINDINGS = 16  # of one model: one for each engine, and the like
_BOUNDS = {"num_thread": 1024, "num_batch": 8192, "num_ubatch": 8192}
Conditions = Mapping[str, str | int]


class Values(NamedTuple):
    """What is launched otherwise than by default. None: as by default."""

    num_thread: int | None = None
    num_batch: int | None = None
    num_ubatch: int | None = None
    flash_attention: bool | None = None
    repack: bool | None = None

    @property
    def said(self) -> dict[str, Any]:
        """Those that are not as by default."""
        return {name: value for name, value in self._asdict().items() if value is not None}


DEFAULTS = Values()


class Finding(NamedTuple):
    """What was found for `model` under these conditions. `gain`: how many times as fast it is as by default.

    `is_whole`: whether there was time to try everything.
    """

    conditions: Conditions
    values: Values
    model: str
    gain: float
    is_whole: bool
    at: str


def conditions(plan: LaunchPlan) -> Conditions:
    """What a finding depends on, beside the model. Raises OSError where the engine is gone."""
    return _conditions(plan.binary, plan.num_gpu, plan.kv_cache_type)


def _conditions(binary: str, num_gpu: int, kv_cache_type: str) -> Conditions:
    return {
        "engine": engine_build(binary),
        "processor": _processor(),
        "cores": machine.num_cores(),
        "processors": len(machine.processors()),
        "num_gpu": num_gpu,
        "kv_cache_type": kv_cache_type,
    }


@cache
def _processor() -> str:
    return cpu.processor().model


def place(root: Path, facts: GGUF) -> Path:
    """The file of a model's findings."""
    shapes = [[each.name, each.shape, each.type_name] for each in facts.tensors]
    text = json.dumps([facts.architecture, shapes])
    return root / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def read(path: Path) -> list[Finding]:
    """The findings of a file; none where there is no file. Raises FormatError for what `keep` did not write, and OSError."""
    try:
        data = layout.read_bounded(path, _MAX_BYTES)
    except FileNotFoundError:
        return []
    try:
        told = json.loads(data)
        if told["version"] != _VERSION or not 0 < len(told["findings"]) <= _MAX_FINDINGS:
            raise ValueError("of another version, or with too much in it")
        return [_finding(each) for each in told["findings"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path} is damaged", hint="Remove it, and tune the model again.") from error


def keep(path: Path, finding: Finding) -> None:
    """Keep a finding, in place of an earlier one under the same conditions. One that cannot be read is replaced."""
    try:
        others = [each for each in read(path) if each.conditions != finding.conditions]
    except FormatError:
        others = []
    kept = [*others, finding][-_MAX_FINDINGS:]
    told = {"version": _VERSION, "findings": [each._asdict() | {"values": each.values.said} for each in kept]}
    files.write_whole(
        path, json.dumps(told, indent=1).encode(), path.with_name(f".{path.name}.{os.getpid()}"), 0o600
    )


def holding(findings: Sequence[Finding], now: Conditions) -> Finding | None:
    """The finding that was made under these conditions."""
    return next((each for each in findings if each.conditions == now), None)


def changed(finding: Finding, now: Conditions) -> str:
    """The conditions that are others now, in words."""
    others = (name for name, value in now.items() if finding.conditions.get(name) != value)
    return ", ".join(name.replace("_", " ") for name in others)


class Kept(NamedTuple):
    """What there is for a model: the finding that would be used now, or why there is none."""

    model: str
    finding: Finding | None
    problem: str = ""


def kept(root: Path, binary: str, num_gpu: int, kv_cache_type: str) -> Iterator[Kept]:
    """All models that were tuned here, for a server that would launch them so. Raises OSError where the engine is gone."""
    now = _conditions(binary, num_gpu, kv_cache_type)
    for path in sorted(root.glob("*.json")):
        try:
            findings = read(path)
        except (FormatError, OSError) as error:
            yield Kept("", None, str(error))
            continue
        for last in findings[-1:]:
            found = holding(findings, now)
            yield Kept(last.model, found, "" if found else f"tuned for another {changed(last, now)}")


class Tunings:
    """The findings of this installation, as loads use them. What is wrong with one is logged once."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._told: set[str] = set()

    def values(self, model: str, plan: LaunchPlan, facts: object) -> Values:
        """What was found for a model of these facts that is to be launched so."""
        if (
            self._root is None
            or plan.engine != "llama.cpp"
            or not isinstance(facts, GGUF)
            or facts.is_embedding
        ):
            return DEFAULTS
        path = place(self._root, facts)
        try:
            findings = read(path)
            if not findings:
                return DEFAULTS
            now = conditions(plan)
        except (FormatError, OSError) as error:
            self._tell(f"what was tuned for {model} is not used: {error}")
            return DEFAULTS
        found = holding(findings, now)
        if found is None:
            what = changed(findings[-1], now)
            self._tell(f"{model} was tuned for another {what}, which is not used: run `hutch tune {model}`")
        return found.values if found else DEFAULTS

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s", what)


NOTHING = Tunings(None)


def _finding(told: Mapping[str, Any]) -> Finding:
    """Read a finding. Raises ValueError, KeyError or TypeError for what cannot be one."""
    found = Finding(**{**told, "values": Values(**told["values"])})
    values = found.values
    for name, most in _BOUNDS.items():
        number = getattr(values, name)
        if number is not None and (type(number) is not int or not 1 <= number <= most):
            raise ValueError(name)
    if not all(isinstance(value, bool | None) for value in (values.flash_attention, values.repack)):
        raise ValueError("a switch")
    if (values.num_ubatch or 0) > (values.num_batch or 512):
        raise ValueError("num_ubatch")
    if not isinstance(found.conditions, dict):
        raise TypeError("conditions")
    is_told = isinstance(found.model, str) and isinstance(found.at, str)
    if not (is_told and isinstance(found.gain, float) and isinstance(found.is_whole, bool)):
        raise TypeError("a finding")
    return found
