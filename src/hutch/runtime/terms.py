"""The terms under which a deployed model runs, whatever requests ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hutch.core.chat import LoadOptions
from hutch.core.deployment import Deployment
from hutch.core.durations import FOREVER
from hutch.core.errors import NoRoom
from hutch.core.names import ModelName
from hutch.engines.protocol import LaunchPlan
from hutch.formats.facts import Facts
from hutch.runtime.launch import context_bytes


@dataclass(frozen=True, slots=True)
class Terms:
    """How a model is held. 0, () and None mean: as it would be without a deployment."""

    hardware: tuple[str, ...] = ()
    max_num_ctx: int = 0
    num_slots: int = 0
    max_cache_bytes: int = 0
    keeps_prefixes: bool = True  # whether a request may find what an earlier one left in its slot
    in_batches: bool = False  # whether requests begin together or not at all
    is_pinned: bool = False  # stays loaded, and makes no room for others
    variant: ModelName | None = None  # what is loaded in its place

    @classmethod
    def of(cls, deployment: Deployment, variant: ModelName | None) -> "Terms":
        """The terms of a deployment."""
        return cls(
            hardware=deployment.hardware,
            max_num_ctx=deployment.max_context,
            num_slots=deployment.num_slots,
            max_cache_bytes=deployment.max_cache_bytes,
            keeps_prefixes=deployment.enable_kv_cache,
            in_batches=not deployment.enable_dynamic_batching,
            is_pinned=True,
            variant=variant,
        )

    def asked(self, options: LoadOptions) -> LoadOptions:
        """What a request's options come to."""
        return LoadOptions(
            num_ctx=self.max_num_ctx or None,
            hardware=self.hardware or None,
        ).over(options)

    def keep_alive_s(self, asked_s: float | None) -> float | None:
        """For how long the model stays after a request that asked for so much."""
        return FOREVER if self.is_pinned else asked_s

    def applied(self, plan: LaunchPlan, facts: Facts) -> LaunchPlan:
        """The plan under these terms. Raises NoRoom where the cache that they allow holds no context."""
        if self.max_num_ctx:
            plan = replace(plan, is_whole_context=True)  # asking for more changes nothing
        if self.num_slots and not facts.is_embedding:
            plan = replace(plan, num_slots=self.num_slots)
        if not self.max_cache_bytes:
            return plan
        if plan.engine == "onnx":
            return replace(plan, kv_cache_bytes=self.max_cache_bytes)
        need_bytes = context_bytes(plan, facts)
        num_slots = min(plan.num_slots, self.max_cache_bytes // need_bytes) if need_bytes else plan.num_slots
        if not num_slots:
            raise NoRoom(
                f"max_cache_size: {self.max_cache_bytes:,} bytes do not hold one context of {plan.num_ctx} tokens, "
                f"which takes {need_bytes:,}",
                hint="Raise max_cache_size, or lower max_context.",
            )
        return replace(plan, num_slots=num_slots)


NONE = Terms()


class TermsTable:
    """The terms of each model that is deployed. Names keep their case, and ignore it."""

    def __init__(self) -> None:
        self._terms: dict[ModelName, Terms] = {}

    def of(self, name: ModelName) -> Terms:
        """The terms of a model, or none."""
        return self._terms.get(name.folded, NONE)

    def put(self, name: ModelName, terms: Terms) -> None:
        """Have these terms count from the model's next request on; NONE takes them away."""
        if terms == NONE:
            self._terms.pop(name.folded, None)
        else:
            self._terms[name.folded] = terms

    def put_all(self, terms: Mapping[ModelName, Terms]) -> None:
        """The same for several."""
        for name, its in terms.items():
            self.put(name, its)
