"""Terms of deployed models."""

import pytest

from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.core.deployment import Deployment
from hutch.core.durations import FOREVER
from hutch.core.errors import NoRoom
from hutch.core.names import ModelName
from hutch.engines.protocol import LaunchPlan
from hutch.runtime.launch import context_bytes, launch_plan, serves
from hutch.runtime.placement import Placement, Resident, place
from hutch.runtime.terms import NONE, Terms, TermsTable
from tests.unit.runtime.things import facts, model, onnx_facts, onnx_model

NAME = ModelName.parse("microsoft/phi-4-mini")


def planned(terms: Terms, asked: LoadOptions | None = None) -> LaunchPlan:
    """The plan of a GGUF model under these terms."""
    plan = launch_plan(model(), facts(), terms.asked(asked or LoadOptions()), Settings())
    return terms.applied(plan, facts())


def test_a_deployment_s_context_hardware_and_slots_go_over_what_requests_ask_for() -> None:
    deployment = Deployment(NAME, hardware=("npu", "cpu"), max_context=512, parallel_requests=6)
    terms = Terms.of(deployment, None)
    asked = LoadOptions(num_ctx=4096, hardware=("gpu",), num_thread=1)
    plan = planned(terms, asked)
    assert (plan.num_ctx, plan.hardware, plan.num_slots, plan.num_thread) == (512, ("npu", "cpu"), 6, 1)
    assert serves(plan, terms.asked(asked), plan)
    assert serves(plan, terms.asked(LoadOptions(num_ctx=9999, num_thread=1)), plan)  # nothing to reload for
    assert terms.keep_alive_s(0.0) == FOREVER


def test_no_terms_change_nothing() -> None:
    asked = LoadOptions(num_ctx=4096, hardware=("gpu",))
    assert NONE.asked(asked) == asked
    assert NONE.keep_alive_s(None) is None
    assert planned(NONE) == launch_plan(model(), facts(), LoadOptions(), Settings())


@pytest.mark.parametrize(("contexts", "num_slots"), [(9.0, 4), (2.5, 2), (1.0, 1)])
def test_the_bound_of_the_cache_leaves_as_many_slots_as_it_holds(contexts: float, num_slots: int) -> None:
    one_bytes = context_bytes(planned(NONE), facts())
    assert planned(Terms(max_cache_bytes=int(one_bytes * contexts))).num_slots == num_slots


def test_a_cache_that_holds_no_context_is_refused() -> None:
    with pytest.raises(NoRoom, match="do not hold one context of 4096 tokens"):
        planned(Terms(max_cache_bytes=10))


def test_the_onnx_engine_keeps_the_bound_itself() -> None:
    plan = launch_plan(onnx_model(), onnx_facts(), LoadOptions(), Settings())
    assert Terms(max_cache_bytes=10).applied(plan, onnx_facts()).kv_cache_bytes == 10


def test_names_are_found_in_any_case() -> None:
    table = TermsTable()
    terms = Terms(num_slots=3)
    table.put(NAME, terms)
    assert table.of(ModelName.parse("Microsoft/PHI-4-mini")) == terms
    table.put(NAME, NONE)
    assert table.of(NAME) == NONE


def resident(name: str, *, busy: bool = False, is_pinned: bool = False) -> Resident:
    return Resident(ModelName.parse(name), 10, busy, 1.0, 1.0, is_pinned)


def test_a_deployed_model_makes_no_room_and_takes_no_place() -> None:
    pinned, idle = resident("deployed", is_pinned=True), resident("idle")
    assert place(5, [pinned, idle], 0, 100, 3) == Placement(evict=(idle.name,))
    assert place(5, [pinned], 100, 100, 1) == Placement()  # of one model at most it is none
    busy = resident("deployed", busy=True, is_pinned=True)
    assert "that is not deployed" in place(5, [busy], 0, 100, 3).refuse  # and nobody waits for it
