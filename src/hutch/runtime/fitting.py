"""What of a plan fits into the memory that there is. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from hutch.engines.protocol import LaunchPlan
from hutch.formats.facts import Facts
from hutch.runtime.launch import memory_need_bytes

_NUM_CTX_STEP = 256
_LEAST_NUM_CTX = 512  # less holds no conversation


def with_fewer_slots(plan: LaunchPlan, facts: Facts, beside: Sequence[Facts], room_bytes: int) -> LaunchPlan:
    """The plan with half as many slots, or a quarter, until it fits; where one is too many too, the plan as it is."""
    fewer = plan
    while not _fits(fewer, facts, beside, room_bytes):
        if fewer.num_slots == 1:
            return plan
        fewer = replace(fewer, num_slots=fewer.num_slots // 2)
    return fewer


def what_fits(plan: LaunchPlan, facts: Facts, beside: Sequence[Facts], room_bytes: int) -> str:
    """What somebody can do whose model does not fit with this plan."""
    if _fits(replace(plan, num_slots=1), facts, beside, room_bytes):
        return "With HUTCH_NUM_PARALLEL=1 it would fit."
    for num_ctx in range(plan.num_ctx - _NUM_CTX_STEP, _LEAST_NUM_CTX - 1, -_NUM_CTX_STEP):
        if _fits(replace(plan, num_slots=1, num_ctx=num_ctx), facts, beside, room_bytes):
            return f"With HUTCH_NUM_PARALLEL=1 and num_ctx {num_ctx} it would fit."
    return "No context is small enough: use a smaller model or quantisation."


def _fits(plan: LaunchPlan, facts: Facts, beside: Sequence[Facts], room_bytes: int) -> bool:
    return memory_need_bytes(plan, facts, beside) <= room_bytes
