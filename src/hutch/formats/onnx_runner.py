"""Which library runs a folder of ONNX: Hutch's own runner on ONNX Runtime, or ONNX Runtime GenAI. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from hutch.formats.onnx import ONNX

RunnerName = Literal["onnxruntime", "onnxruntime-genai"]
_IN_PLACE = "GroupQueryAttention"
_CACHE_TYPES = ("float32", "float16")
_OWN_INPUTS = ("input_ids", "attention_mask", "position_ids")
_MAX_SHOWN = 3


class DecoderConfig(Protocol):
    """The part of `genai_config.json` on the graph that writes."""

    @property
    def filename(self) -> str:
        """Its file; "" where it is made of several."""

    @property
    def names(self) -> Mapping[str, str]:
        """The names of its inputs and outputs by their roles."""


class Config(Protocol):
    """What is needed of `genai_config.json`."""

    @property
    def decoder(self) -> DecoderConfig | None:
        """The part that writes."""

    @property
    def other_parts(self) -> tuple[str, ...]:
        """Vision, speech and others."""


class Folder(Protocol):
    """The facts of a folder that decide. `OnnxModel` has them."""

    @property
    def is_encoder(self) -> bool:
        """Whether it has no decoder."""

    @property
    def own_runner_problem(self) -> str:
        """What `problem` said of it."""


class Runner(NamedTuple):
    """The runner, and why it is this one: for `show`, `ps` and the log."""

    name: RunnerName
    reason: str


def runner_for(model: Folder, providers: Sequence[str], wanted: RunnerName | None = None) -> Runner:
    """The runner for a folder and an ordered plan of providers; an empty plan is the CPU. `wanted`: what a setting says."""
    if model.is_encoder:
        return Runner("onnxruntime", "it turns texts into vectors, which ONNX Runtime GenAI cannot")
    if wanted is not None:
        return Runner(wanted, "the setting onnx_runner says so")
    if model.own_runner_problem:
        return Runner("onnxruntime-genai", model.own_runner_problem)
    if providers and providers[0] != "cpu":
        return Runner("onnxruntime-genai", f"{providers[0]} is to be tried first, and ours runs on the CPU")
    return Runner("onnxruntime", "a plain decoder whose cache is written in place, on the CPU")


def problem(config: Config, graphs: Mapping[str, ONNX]) -> str:
    """What Hutch's own runner cannot do with a model; "" where it can."""
    if config.other_parts:
        return f"it has parts beside its decoder: {_few(config.other_parts)}"
    if config.decoder is None or not config.decoder.filename:
        return "its decoder is made of several graphs"
    graph = graphs.get(config.decoder.filename)
    return _problem_of(config.decoder, graph) if graph is not None else ""


def _problem_of(decoder: DecoderConfig, graph: ONNX) -> str:
    names = decoder.names
    past = [names[role].partition("%d") for role in ("past_key_names", "past_value_names")]
    known = {names.get(role, role) for role in _OWN_INPUTS}
    caches = [
        name
        for name in graph.inputs
        if any(name.startswith(before) and name.endswith(after) for before, _, after in past)
    ]
    others = [name for name in graph.inputs if name not in known and name not in caches]
    if others:
        return f"its graph has inputs of another kind: {_few(others)}"
    if not caches:
        return "its graph has no key-value cache"
    types = {graph.inputs[name].type_name for name in caches}
    if not types.issubset(_CACHE_TYPES):
        return f"its key-value cache is of type {_few(sorted(types))}"
    if all(operator.type_name != _IN_PLACE for operator in graph.operators):
        return f"its graph has no {_IN_PLACE}, so its cache is not written in place"
    return ""


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MAX_SHOWN
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
