"""What becomes of a plan when a provider takes its worker with it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hutch.core.errors import EngineFailed
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.runtime import loaded
from hutch.runtime.onnx_launch import RanOn


class Worker:
    """A worker that ends by `signal_name` as long as a bad provider is the first of its plan."""

    signal_name: str | None = "SIGSEGV"

    def __init__(self, plan: LaunchPlan, _log: object) -> None:
        self.plan = plan
        self.client = self
        self.crash: str | None = None
        self.is_stopped = False

    async def stop(self) -> None:
        """Nothing of it is left."""
        self.is_stopped = True

    async def start(self, _timeout_s: float) -> None:
        if self.plan.providers[0].startswith("openvino"):
            self.crash = self.signal_name
            raise EngineFailed("the engine could not load the model: it said nothing")

    async def get(self, _path: str) -> dict[str, Any]:
        said = {"name": "onnxruntime", "version": "1", "providers": [self.plan.providers[0]], "fallbacks": []}
        return {"engine": said}


def model(*providers: str) -> loaded.LoadedModel:
    plan = LaunchPlan("folder", Endpoint(), 256, 1, 64, 64, 1, engine="onnx", providers=providers)
    voice = SimpleNamespace(model=SimpleNamespace(name=SimpleNamespace(short="it")))
    sockets = SimpleNamespace(next_endpoint=Endpoint)
    made = loaded.LoadedModel(voice, plan, None, sockets, None)  # type: ignore[arg-type]
    made.ran_on = RanOn("why", ())
    return made


def test_a_provider_that_crashes_its_worker_is_left_out_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "Worker", Worker)
    made = model("openvino:npu", "openvino:gpu", "cpu")
    asyncio.run(made._launch(1.0))
    assert made.plan.providers == ("cpu",)
    assert made.ran_on is not None
    assert made.ran_on.provider == "cpu"
    assert [step.wanted for step in made.ran_on.steps_down] == ["openvino:npu", "openvino:gpu"]
    assert "SIGSEGV" in made.ran_on.steps_down[0].reason


@pytest.mark.parametrize(
    ("signal_name", "providers"), [(None, ("openvino:npu", "cpu")), ("SIGSEGV", ("openvino:npu",))]
)
def test_other_failures_of_a_load_stay_failures(
    monkeypatch: pytest.MonkeyPatch, signal_name: str | None, providers: tuple[str, ...]
) -> None:
    monkeypatch.setattr(loaded, "Worker", Worker)
    monkeypatch.setattr(Worker, "signal_name", signal_name)
    with pytest.raises(EngineFailed, match="said nothing"):
        asyncio.run(model(*providers)._launch(1.0))
