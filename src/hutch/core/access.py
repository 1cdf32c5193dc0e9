"""Who asks, and for what."""

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request comes from. All that outlives a request is keyed by `id`."""

    id: str


ANONYMOUS = Principal("anonymous")


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
    SEE_HARDWARE = "hardware.see"
    SEE_METRICS = "metrics.see"
    SEE_DEPLOYMENTS = "deployments.see"
    DEPLOY = "deployments.write"
