"""Who asks, and for what."""

import enum
from dataclasses import dataclass, field

from hutch.core.names import ModelName


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a principal may have. Limits of 0 are none; `models` is None where every model may be used."""

    weight: float = 1.0  # its share beside others who wait too
    priority: int = 0  # whoever has a higher one goes first
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    models: tuple[ModelName, ...] | None = None


UNLIMITED = Allowance()


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request comes from. All that outlives a request is keyed by `id`; the rest is no part of who that is."""

    id: str
    name: str = field(default="", compare=False)
    allowance: Allowance = field(default=UNLIMITED, compare=False)
    begin_by: float | None = field(default=None, compare=False)  # of time.monotonic(): later is too late
    may_return: bool = field(default=True, compare=False)  # False of what the server asks by itself

    def may_use(self, name: ModelName) -> bool:
        """Whether there is a model of this name, as far as this principal is concerned."""
        models = self.allowance.models
        return models is None or any(name.same_as(each) for each in models)


ANONYMOUS = Principal("anonymous", "anonymous")


class Action(enum.StrEnum):
    """What a route does. Every route declares one; policy decides by it."""

    HEALTH = "health"
    DESCRIBE = "describe"
    INFER = "infer"
    LIST_MODELS = "models.list"
    READ_MODEL = "models.read"
    WRITE_MODEL = "models.write"
    DELETE_MODEL = "models.delete"
    PULL_MODEL = "models.pull"
    PUSH_MODEL = "models.push"
    SEE_RUNNING = "running.see"
    SEE_QUEUE = "queue.see"
    SEE_HARDWARE = "hardware.see"
    SEE_METRICS = "metrics.see"
    SEE_DEPLOYMENTS = "deployments.see"
    DEPLOY = "deployments.write"
