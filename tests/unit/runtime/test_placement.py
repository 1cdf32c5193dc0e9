"""Which models make room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.names import ModelName
from hutch.runtime.placement import Placement, Resident, place

A, B, C = (ModelName.parse(name) for name in "abc")


def idle(name: ModelName, memory_bytes: int = 10, idle_s: float = 60.0, reload_s: float = 1.0) -> Resident:
    return Resident(name, memory_bytes, busy=False, idle_s=idle_s, reload_s=reload_s)


def busy(name: ModelName, memory_bytes: int = 10) -> Resident:
    return Resident(name, memory_bytes, busy=True, idle_s=0.0, reload_s=1.0)


@pytest.mark.parametrize(
    ("need", "residents", "free", "most", "plan"),
    [
        (10, [], 100, 3, Placement()),
        (100, [], 100, 3, Placement()),
        (10, [idle(A)], 10, 3, Placement()),
        (10, [idle(A)], 9, 3, Placement(evict=(A,))),
        (10, [idle(A)], 90, 1, Placement(evict=(A,))),
        (10, [idle(A, idle_s=5), idle(B, idle_s=50)], 0, 3, Placement(evict=(B,))),
        (10, [idle(A, reload_s=1), idle(B, reload_s=9)], 0, 3, Placement(evict=(A,))),
        (15, [idle(A, idle_s=5), idle(B, idle_s=50), idle(C, idle_s=500)], 0, 9, Placement(evict=(C, B))),
        (10, [busy(A), idle(B)], 0, 3, Placement(evict=(B,))),
        (10, [busy(A)], 0, 3, Placement(wait=True)),
        (10, [busy(A)], 90, 1, Placement(wait=True)),
        (30, [busy(A), idle(B)], 0, 3, Placement(wait=True)),
        (10, [busy(A), busy(B), idle(C)], 90, 2, Placement(wait=True)),
    ],
)
def test_the_cheapest_idle_models_go_and_busy_ones_stay(
    need: int, residents: list[Resident], free: int, most: int, plan: Placement
) -> None:
    assert place(need, residents, free, 100, most) == plan


def test_what_no_unloading_could_help_is_refused_with_sizes() -> None:
    plan = place(3 << 30, [busy(A)], 1 << 30, 2 << 30, 3)
    assert plan.refuse == "it needs about 3.0 GiB of memory and this machine has 2.0 GiB to give"
    plan = place(3 << 30, [idle(A, 1 << 30)], 1 << 30, 4 << 30, 3)
    assert (
        plan.refuse == "it needs about 3.0 GiB of memory and only 2.0 GiB is free, with every model unloaded"
    )
    assert plan.evict == ()


RESIDENTS = st.lists(
    st.builds(
        Resident,
        st.text("abcdef", min_size=1, max_size=8).map(ModelName.parse),
        st.integers(0, 50),
        st.booleans(),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
    ),
    max_size=6,
    unique_by=lambda resident: resident.name,
)


@given(st.integers(0, 120), RESIDENTS, st.integers(0, 100), st.integers(1, 5))
def test_a_plan_fits_and_evicts_no_busy_model(
    need: int, residents: list[Resident], free: int, most: int
) -> None:
    plan = place(need, residents, free, 100, most)
    going = [resident for resident in residents if resident.name in plan.evict]
    assert not any(resident.busy for resident in going)
    if plan.wait:
        assert any(resident.busy for resident in residents)
        assert not plan.evict
    elif not plan.refuse:
        assert need <= free + sum(resident.memory_bytes for resident in going)
        assert len(residents) - len(going) < most
    assert sum((plan.wait, bool(plan.refuse))) <= 1
