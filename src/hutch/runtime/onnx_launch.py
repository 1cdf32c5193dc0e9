"""What an ONNX model runs on: the plan's providers and its runner, by the preference, the machine and the model."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from hutch.config import Settings
from hutch.core.errors import EngineFailed
from hutch.core.hardware import PROVIDERS, SteppedDown
from hutch.engines.protocol import LaunchPlan
from hutch.formats.onnx_model import OnnxModel
from hutch.formats.onnx_runner import RunnerName, runner_for
from hutch.runtime.hardware import Inventory

_log = logging.getLogger(__name__)
_RUNNERS: dict[str, RunnerName | None] = {
    "auto": None,
    "onnxruntime": "onnxruntime",
    "genai": "onnxruntime-genai",
    "onnxruntime-genai": "onnxruntime-genai",
}


class RanOn(NamedTuple):
    """What an ONNX model runs on in the end, for `ps`, the log and the answer to a load."""

    runner_reason: str
    steps_down: tuple[SteppedDown, ...]
    runner: str = "onnxruntime"
    version: str = ""
    provider: str = ""
    is_reproducible: bool | None = (
        None  # whether a seed gives the same text in any company; None of an encoder
    )

    def by(self, engine: Mapping[str, Any]) -> "RanOn":
        """With what the worker says of itself. What it stepped down from comes after what the plan did."""
        fallbacks = [SteppedDown(each["provider"], each["reason"]) for each in engine["fallbacks"]]
        steps = dict.fromkeys((*self.steps_down, *fallbacks))
        said = engine["name"], engine["version"], engine["providers"][0], engine.get("reproducible")
        return RanOn(self.runner_reason, tuple(steps), *said)

    def without(self, provider: str, reason: str) -> "RanOn":
        """With one more step down."""
        return self._replace(steps_down=(*self.steps_down, SteppedDown(provider, reason)))

    @property
    def told(self) -> dict[str, Any]:
        """As the API has it."""
        return {
            "runner": self.runner,
            "version": self.version,
            "reason": self.runner_reason,
            "provider": self.provider,
            "fallbacks": [{"provider": step.wanted, "reason": step.reason} for step in self.steps_down],
        } | ({} if self.is_reproducible is None else {"reproducible": self.is_reproducible})


class OnHardware(NamedTuple):
    """A plan with its providers and its runner, why it is that runner, and what was passed over."""

    plan: LaunchPlan
    runner_reason: str
    passed_over: tuple[SteppedDown, ...]


async def onnx_hardware(
    plan: LaunchPlan, model: OnnxModel, inventory: Inventory, settings: Settings
) -> OnHardware:
    """Choose providers and runner. Raises EngineFailed where nothing that may be used is there."""
    preference = plan.hardware or made_for(model)
    chosen = await inventory.plan(preference)
    if not chosen.steps:
        reasons = "; ".join(f"{wanted}: {reason}" for wanted, reason in chosen.passed_over)
        raise EngineFailed(
            f"nothing of the hardware that may be used is there: {reasons}",
            hint="Add cpu to the list, or see `hutch hardware`.",
        )
    providers = tuple(step.label for step in chosen.steps)
    runner = runner_for(model, providers, _RUNNERS[settings.onnx_runner])
    _log.debug("runner %s: %s; providers %s", runner.name, runner.reason, ", ".join(providers))
    planned = replace(plan, providers=providers, runner=runner.name)
    return OnHardware(planned, runner.reason, chosen.passed_over)


def made_for(model: OnnxModel) -> tuple[str, ...]:
    """The preference where nobody has one: the providers that the model's own configuration names, then the CPU."""
    named = {name.lower() for name in (model.config.providers if model.config else ())}
    own = (each.short for each in PROVIDERS if each.genai and each.genai.lower() in named)
    return (*own, "cpu")
