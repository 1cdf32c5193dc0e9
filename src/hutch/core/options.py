"""Ollama's option names, their types, and what they mean to a request."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hutch.core.chat import LoadOptions, Sampling
from hutch.core.errors import BadInput
from hutch.core.hardware import parse_hardware

OPTION_TYPES: Mapping[str, type] = MappingProxyType(
    {
        "num_ctx": int,
        "num_batch": int,
        "num_gpu": int,
        "main_gpu": int,
        "hardware": str,
        "use_mmap": bool,
        "num_thread": int,
        "draft_num_predict": int,
        "num_keep": int,
        "seed": int,
        "num_predict": int,
        "top_k": int,
        "top_p": float,
        "min_p": float,
        "typical_p": float,
        "repeat_last_n": int,
        "temperature": float,
        "repeat_penalty": float,
        "presence_penalty": float,
        "frequency_penalty": float,
        "stop": list,
    }
)
DEPRECATED = frozenset(
    ("penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock")
) | {
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
}
PARAMETER_ALIASES = MappingProxyType({"context_length": "num_ctx"})  # what a model's makers may call it too

_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "num_ctx": (1, 1 << 24),
        "num_batch": (1, 1 << 16),
        "num_gpu": (-1, 1 << 16),
        "main_gpu": (0, 255),
        "num_thread": (0, 1024),
        "draft_num_predict": (0, 64),
        "num_keep": (-1, 1 << 24),
        "seed": (-(1 << 63), (1 << 64) - 1),
        "num_predict": (-2, 1 << 24),
        "top_k": (-1, 1 << 24),
        "top_p": (0, 1),
        "min_p": (0, 1),
        "typical_p": (0, 1),
        "repeat_last_n": (-1, 1 << 24),
        "temperature": (0, 100),
        "repeat_penalty": (0.01, 100),  # the engine divides by it
        "presence_penalty": (-100, 100),
        "frequency_penalty": (-100, 100),
    }
)
_WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array of strings"}
_LOAD_NAMES = frozenset(
    ("num_ctx", "num_batch", "num_gpu", "main_gpu", "hardware", "use_mmap", "num_thread", "draft_num_predict")
)
MAX_STOPS = 64
MAX_STOP_CHARS = 1024
_SEED_BITS = (1 << 32) - 1


def typed_option(name: str, value: object) -> Any:
    """Return an option's value in its own type and range. Raises BadInput that names it."""
    kind = OPTION_TYPES[name]
    if kind is list:
        return _stops(value)
    if kind is str:
        return ",".join(parse_hardware(value))
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, bool | int | float):
        raise BadInput(f'option "{name}" must be of type {_WORDS[kind]}', param=name)
    if kind is bool:
        return value
    low, high = _RANGES[name]
    if not low <= value <= high:  # nor is NaN
        raise BadInput(f'option "{name}" must be between {low:.10g} and {high:.10g}', param=name)
    return kind(value)


def parse_option(name: str, text: str) -> Any:
    """Read the value of a PARAMETER line or `/set parameter`. Raises BadInput in Ollama's words."""
    kind = OPTION_TYPES.get(name)
    if kind is None:
        raise BadInput(f"unknown parameter '{name}'", hint=f"Known are: {', '.join(OPTION_TYPES)}.")
    if kind is list:
        return [text]
    if kind is str:
        return typed_option(name, text)
    value: object = None
    if kind is bool:
        value = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}.get(text.lower())
    else:
        try:
            value = kind(text) if text.isascii() and "_" not in text else None  # Python reads 1_0 and ٣ too
        except ValueError:
            value = None
    if value is None:
        word = {int: "int", float: "float", bool: "bool"}[kind]
        raise BadInput(f"invalid {word} value [{text}]", hint=f"PARAMETER {name} takes one {_WORDS[kind]}.")
    return typed_option(name, value)


def split_options(options: Mapping[str, Any]) -> tuple[Sampling, LoadOptions]:
    """Sort options by when they take effect; unknown names and None are passed over. Raises BadInput."""
    run: dict[str, Any] = {}
    load: dict[str, Any] = {}
    for name, value in options.items():
        if value is None or name not in OPTION_TYPES:
            continue
        known = typed_option(name, value)
        if name == "hardware":
            load[name] = parse_hardware(known)
        elif name in _LOAD_NAMES:
            load[name] = known
        elif name == "num_predict":
            run["max_tokens"] = known
        elif name == "seed":
            run["seed"] = known if known < 0 else known & _SEED_BITS  # the engine's seeds have 32 bits
        else:
            run[name] = known
    return Sampling(**run), LoadOptions(**load)


def _stops(value: object) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else value
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise BadInput('option "stop" must be of type array of strings', param="stop")
    if len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARS for stop in stops):
        raise BadInput(
            f'option "stop" takes at most {MAX_STOPS} texts of {MAX_STOP_CHARS} characters', param="stop"
        )
    return tuple(stop for stop in stops if stop)
