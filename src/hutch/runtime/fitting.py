"""What of a plan fits into the memory that there is. Pure."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from hutch.engines.protocol import LaunchPlan
from hutch.formats.facts import Facts
from hutch.formats.gguf import GGUF, has_kv_in_blocks_of
from hutch.runtime.launch import WHOLE_KV_TYPES, memory_need_bytes

_NUM_CTX_STEP = 256
_LEAST_NUM_CTX = 512  # less holds no conversation
_LEAST_CHOSEN_NUM_CTX = 2048  # less is not for us to choose
_SMALL_TYPE, _BLOCK = "q8_0", 32  # the one whose answers are hardly others


class Open(NamedTuple):
    """What nobody has said of a load, so that memory may decide it."""

    num_slots: bool = False
    kv_cache_type: bool = False
    num_ctx: bool = False


def fitted(
    plan: LaunchPlan, facts: Facts, beside: Sequence[Facts], room_bytes: int, undecided: Open
) -> LaunchPlan:
    """The plan, or the first smaller one that fits; where none does, the smallest.

    Fewer slots cost only those who wait. A smaller cache type changes answers a little, a shorter context ends them.
    """
    smaller = plan
    for smaller in _smaller(plan, facts, undecided):
        if _fits(smaller, facts, beside, room_bytes):
            break
    return smaller


def _smaller(plan: LaunchPlan, facts: Facts, undecided: Open) -> Iterator[LaunchPlan]:
    """The plan itself, then one after another that takes less."""
    yield plan
    while undecided.num_slots and plan.num_slots > 1:
        plan = replace(plan, num_slots=plan.num_slots // 2)
        yield plan
    if undecided.kv_cache_type and _has_small_type(plan, facts):
        plan = replace(plan, kv_cache_type=_SMALL_TYPE, flash_attention=plan.flash_attention or None)
        yield plan
    while undecided.num_ctx and plan.num_ctx // 2 >= _LEAST_CHOSEN_NUM_CTX:
        plan = replace(plan, num_ctx=plan.num_ctx // 2, is_whole_context=False)
        yield plan


def _has_small_type(plan: LaunchPlan, facts: Facts) -> bool:
    """Whether the cache of this plan can be had in the small type. That of a draft model has a type of its own."""
    return (
        plan.engine == "llama.cpp"
        and plan.kv_cache_type in WHOLE_KV_TYPES
        and not plan.draft
        and isinstance(facts, GGUF)
        and has_kv_in_blocks_of(facts, _BLOCK)
    )


def lessened(wanted: LaunchPlan, plan: LaunchPlan) -> tuple[str, ...]:
    """What of the wanted plan memory has made less, in words."""
    less = []
    if plan.num_slots < wanted.num_slots:
        less.append(f"{plan.num_slots} of {wanted.num_slots} slots")
    if plan.kv_cache_type != wanted.kv_cache_type:
        less.append(f"its contexts in {plan.kv_cache_type}, not {wanted.kv_cache_type}")
    if plan.num_ctx < wanted.num_ctx:
        less.append(f"{plan.num_ctx} of {wanted.num_ctx} tokens of context")
    return tuple(less)


def what_fits(plan: LaunchPlan, facts: Facts, beside: Sequence[Facts], room_bytes: int) -> str:
    """What somebody can do whose model does not fit with this plan."""
    for num_slots in range(plan.num_slots - 1, 0, -1):
        if _fits(replace(plan, num_slots=num_slots), facts, beside, room_bytes):
            return f"With HUTCH_NUM_PARALLEL={num_slots} it would fit."
    with_one = "HUTCH_NUM_PARALLEL=1 and " if plan.num_slots > 1 else ""
    plan = replace(plan, num_slots=1)
    has_small = plan.flash_attention is not False and _has_small_type(plan, facts)
    small = replace(plan, kv_cache_type=_SMALL_TYPE) if has_small else plan
    if _fits(small, facts, beside, room_bytes):
        return f"With {with_one}HUTCH_KV_CACHE_TYPE={_SMALL_TYPE} it would fit."
    num_ctx, num_ctx_small = (_largest_num_ctx(each, facts, beside, room_bytes) for each in (plan, small))
    if not num_ctx_small:
        return "No context is small enough: use a smaller model or quantisation."
    if not num_ctx:
        return f"With {with_one}HUTCH_KV_CACHE_TYPE={_SMALL_TYPE} and num_ctx {num_ctx_small} it would fit."
    more = f" ({num_ctx_small} with HUTCH_KV_CACHE_TYPE={_SMALL_TYPE})" if num_ctx_small > num_ctx else ""
    return f"With {with_one}num_ctx {num_ctx}{more} it would fit."


def _largest_num_ctx(plan: LaunchPlan, facts: Facts, beside: Sequence[Facts], room_bytes: int) -> int:
    """The longest context below the plan's with which it fits; 0 where none does."""

    def need_bytes(num_ctx: int) -> int:
        return memory_need_bytes(replace(plan, num_ctx=num_ctx), facts, beside)

    lengths = range(_LEAST_NUM_CTX, plan.num_ctx, _NUM_CTX_STEP)
    num = bisect_right(lengths, room_bytes, key=need_bytes)
    return lengths[num - 1] if num else 0


def _fits(plan: LaunchPlan, facts: Facts, beside: Sequence[Facts], room_bytes: int) -> bool:
    return memory_need_bytes(plan, facts, beside) <= room_bytes
