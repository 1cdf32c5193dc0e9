"""What `quantization: dynamic` comes to: a variant of eight bits, made by ONNX Runtime where the model is ONNX in floats."""

from collections.abc import Mapping

from hutch import places
from hutch.cli import side, steps
from hutch.core.errors import NotBuilt
from hutch.core.names import ModelName
from hutch.optimize import recipes, source, variant
from hutch.optimize.making import Workshop, alone
from hutch.store.local import local_store

_FLOATS = ("fp64", "fp32", "fp16", "bf16")
_WORD = "dynamic-int8"


def dynamic(name: ModelName, details: Mapping[str, str]) -> tuple[ModelName | None, str]:
    """The variant to load in the model's place, None where there is nothing to do, and a note that says so."""
    level = details.get("quantization_level", "")
    if details.get("format") != "onnx":
        return None, f"nothing to do: {name.short} is a GGUF file, whose numbers are {level}"
    if level not in _FLOATS:
        return None, f"nothing to do: {name.short} is in {level} already"
    if not side.is_here():
        raise NotBuilt("a model is quantised on the machine that has it", hint="Run this command there.")
    store = local_store()
    target = name._replace(tag=f"{name.tag}-{_WORD}")
    root = places.home() / "optimize"
    with steps.shown() as tell, alone(root):
        found = source.find(name.short, store)
        workshop = Workshop(root / "deploy", found, root / "deploy.log")
        (recipe,) = recipes.only(recipes.for_graph(is_float=True), "onnx", _WORD)
        made = steps.follow(workshop.made(recipe), tell)
        for step in variant.put(store, target, made, found.name):
            tell(step)
        workshop.clean()
    return target, f"{target.short}, made of {name.short}; compare them with `hutch compare`"
