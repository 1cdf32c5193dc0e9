"""`hutch config show`: every setting that counts here, and where its value comes from. Shows no secret."""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hutch import config, places
from hutch.cli import columns, plain
from hutch.core.durations import format_duration
from hutch.core.errors import HutchError
from hutch.runtime.launch import layers_on_gpu
from hutch.runtime.tuned import Kept, kept
from hutch.store import installed

_CLOUD = "Hutch asks no cloud"
_AGENT = "Hutch has no agent"
_ENGINE = "the engine is the built-in one, or what llama_server names"
_WITHOUT_MEANING: Mapping[str, str] = {
    "OLLAMA_AGENT_DISABLE_SHELL": _AGENT,
    "OLLAMA_AGENT_DISABLE_WEBSEARCH": _AGENT,
    "OLLAMA_AUTH": "clients of Hutch send HUTCH_API_KEY; who may come in is what HUTCH_AUTH says",
    "OLLAMA_CLOUD_BASE_URL": _CLOUD,
    "OLLAMA_DEBUG_LOG_REQUESTS": "Hutch writes no prompts to its logs",
    "OLLAMA_EXPERIMENT": "Hutch has no experiments",
    "OLLAMA_GO_TEMPLATE": "a model's TEMPLATE always counts",
    "OLLAMA_IGPU_ENABLE": _ENGINE,
    "OLLAMA_LIBRARY_PATH": _ENGINE,
    "OLLAMA_LLAMA_CPP_COMPAT": _ENGINE,
    "OLLAMA_LLM_LIBRARY": _ENGINE,
    "OLLAMA_MAX_TRANSFER_STREAMS": "Hutch fetches one file after another",
    "OLLAMA_NO_CLOUD": f"{_CLOUD}, whatever it says",
    "OLLAMA_NOPRUNE": "Hutch prunes only when 'hutch prune' is typed",
    "OLLAMA_REMOTES": _CLOUD,
    "OLLAMA_SCHED_SPREAD": "layers go to every GPU that is visible",
    "OLLAMA_SKILLS": _AGENT,
    "OLLAMA_VULKAN": _ENGINE,
}


class Known(NamedTuple):
    """One setting: its value, and the variable, file or `default` that it comes from."""

    name: str
    value: Any
    source: str


class Unheeded(NamedTuple):
    """A variable that is set and does nothing."""

    name: str
    reason: str


def show(args: argparse.Namespace) -> None:
    """`hutch config show`: what a server started from here would go by, and what commands go by."""
    settings, here, unheeded = [*_settings()], [*_here()], [*_unheeded()]
    tuned = [*_tuned()]
    if args.json:
        told: Mapping[str, Sequence[Known | Unheeded]] = {
            "settings": settings,
            "commands": here,
            "without_effect": unheeded,
        }
        lists = {name: [row._asdict() for row in rows] for name, rows in told.items()}
        lists["tuned"] = [{"model": model} | values for model, values in tuned]
        print(json.dumps({"file": str(config.file())} | lists, indent=2))
        return
    rows = [(row.name, _text(row.value), row.source) for row in (*settings, *here)]
    plain.out(columns.table(("SETTING", "VALUE", "FROM"), rows))
    if tuned:
        rows_of_tuned = [(model, columns.named(values) or "as by default") for model, values in tuned]
        plain.out("\n" + columns.table(("TUNED", "WHERE NOTHING ELSE IS SAID"), rows_of_tuned))
    if unheeded:
        plain.out("\n" + columns.table(("WITHOUT EFFECT", "BECAUSE"), unheeded))


def tuned_models() -> list[Kept]:
    """What `hutch tune` found for models, as a server started from here would use it. Raises HutchError, and OSError."""
    settings = config.load()
    binary = installed.binary_in_use(places.engines(), settings.llama_server)
    num_gpu = layers_on_gpu(settings.hardware, settings.num_gpu)
    return list(kept(places.tuned(), binary, num_gpu, settings.cache_type))


def _tuned() -> Iterator[tuple[str, dict[str, Any]]]:
    """The models that are launched as they were tuned, and with what."""
    try:
        models = tuned_models()
    except (HutchError, OSError):
        return  # an engine that is gone, of which doctor tells
    for each in models:
        if each.finding:
            yield each.model, each.finding.values.said


def _settings() -> Iterator[Known]:
    settings, sources = config.load(), config.origins()
    for name, value in settings:
        yield Known(name, _plain(value), sources[name])


def _here() -> Iterator[Known]:
    """What every command goes by."""
    values = {
        "HOME": str(places.home()),
        "MODELS": str(places.models()),
        "HOST": places.server_address().url,
        "API_KEY": "(set)" if places.api_key() else None,
        "NOHISTORY": places.history_file() is None,
        "EDITOR": places.editor() or None,
    }
    for name, value in values.items():
        yield Known(name.lower(), value, places.first_set(*places.CLIENT_VARIABLES[name]) or "default")
    for name in places.device_variables():
        yield Known(name, places.variable(name), name)


def _unheeded() -> Iterator[Unheeded]:
    heeded = {variable for names in places.CLIENT_VARIABLES.values() for variable in names}
    heeded |= {variable for name in config.Settings.model_fields for variable in config.variables(name)}
    for name in places.own_variables():
        if name not in heeded:
            yield Unheeded(name, _WITHOUT_MEANING.get(name, "Hutch knows no variable of this name"))


def _plain(value: object) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and math.isinf(value):
        return "forever"
    return list(value) if isinstance(value, tuple) else value


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, float):
        return format_duration(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
