"""How a model is to be loaded: found out before anything that runs is touched."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hutch import places
from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.core.errors import BadInput
from hutch.core.models import Model
from hutch.core.names import ModelName
from hutch.core.options import split_options
from hutch.core.versions import check_requires
from hutch.engines.protocol import LaunchPlan
from hutch.formats import headers
from hutch.formats.gguf import GGUF
from hutch.formats.onnx_model import OnnxModel
from hutch.runtime import beside, tuned
from hutch.runtime.fitting import Open
from hutch.runtime.hardware import Inventory, gguf_hardware
from hutch.runtime.launch import launch_plan, said_of_tuned, with_tuned
from hutch.runtime.onnx_launch import OnHardware, onnx_hardware
from hutch.runtime.terms import Terms
from hutch.runtime.tuned import Tunings
from hutch.store import installed


class Library(Protocol):
    """What is needed of a model store."""

    def open(self, name: ModelName) -> Model:
        """The model of that name. Raises NotFound."""

    def stamp(self, name: ModelName) -> object:
        """A value that changes when the name gets another content. Raises NotFound."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A model, what its files say, the plan, and what that was made from."""

    stamp: object
    terms: Terms
    options: LoadOptions
    model: Model
    facts: GGUF | OnnxModel
    files: Sequence[GGUF]
    plan: LaunchPlan
    usual: LaunchPlan  # for who asks for nothing
    on_hardware: OnHardware | None
    undecided: Open


async def planned(
    library: Library,
    name: ModelName,
    terms: Terms,
    options: LoadOptions,
    *,
    settings: Settings,
    inventory: Inventory,
    tunings: Tunings = tuned.NOTHING,
) -> Planned:
    """How a model would be loaded under these terms. Raises HutchError where it cannot be."""
    stamp, options = library.stamp(name), terms.asked(options)
    model = await asyncio.to_thread(library.open, name)
    check_runs(model)
    facts = await asyncio.to_thread(headers.facts, model)
    files = await asyncio.to_thread(beside.read, model, facts)
    in_use = places.engines(), settings.llama_server
    binary, kind = (
        ("", "") if model.files else (installed.binary_in_use(*in_use), installed.kind_in_use(*in_use))
    )

    def launched(asked: LoadOptions) -> LaunchPlan:
        plan = launch_plan(model, facts, asked, settings, binary, kind=kind)
        values = tunings.values(name.short, plan, facts)
        if values.said:
            plan = with_tuned(plan, values, said_of_tuned(model, asked, settings))
        return terms.applied(plan, facts)

    plan, usual = launched(options), launched(terms.asked(LoadOptions()))
    if plan.engine == "llama.cpp":
        await gguf_hardware(plan, inventory)
    on_hardware = None
    if isinstance(facts, OnnxModel):
        on_hardware = await onnx_hardware(plan, facts, inventory, settings)
        plan = on_hardware.plan
    said = options.over(split_options(model.parameters)[1])
    undecided = Open(
        num_slots=not (settings.num_parallel or terms.num_slots),
        kv_cache_type=settings.kv_cache_type == "auto" and settings.flash_attention is not False,
        num_ctx=said.num_ctx is None and not settings.context_length,
    )
    return Planned(stamp, terms, options, model, facts, files, plan, usual, on_hardware, undecided)


def check_runs(model: Model) -> None:
    """Raise BadInput for a model that no engine here can run."""
    name = model.name.short
    if len(model.weights) != 1 and not model.files:
        raise BadInput(f'"{name}" has {len(model.weights)} model files, and Hutch runs one')
    if model.unsupported_layers:
        raise BadInput(f'"{name}" needs what Hutch does not have yet: {model.unsupported_layers[0]}')
    if model.requires:
        check_requires(model.requires)
