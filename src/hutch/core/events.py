"""What happens to loaded models, for whoever counts it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """A model is in memory and answers. `model` is its short name, as the store has it."""

    model: str
    load_s: float


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A model of the store could not be loaded."""

    model: str


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A loaded model's worker ended by itself. Another one is started in its place."""

    model: str


Event = ModelLoaded | LoadFailed | WorkerDied
Listener = Callable[[Event], None]


def unheard(event: Event) -> None:
    """The listener where nobody listens."""
