"""What of a plan fits into memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.formats import headers
from hutch.formats.gguf import GGUF
from hutch.runtime.fitting import what_fits, with_fewer_slots
from hutch.runtime.launch import context_bytes, memory_need_bytes
from tests.gguf_files import tiny_model

PLAN = LaunchPlan(
    weights="x",
    endpoint=Endpoint(),
    num_ctx=4096,
    num_slots=4,
    num_batch=512,
    num_ubatch=512,
    num_thread=1,
    num_gpu=0,
)


@pytest.fixture
def facts(tmp_path: Path) -> GGUF:
    """Of a model whose contexts take memory."""
    sizes = {"context_length": 8192, "block_count": 32, "embedding_length": 4096, "attention.head_count": 32}
    file = tmp_path / "model.gguf"
    file.write_bytes(tiny_model({f"llama.{name}": value for name, value in sizes.items()}))
    return headers.header(file)


def need_bytes(facts: GGUF, num_slots: int, num_ctx: int = 4096) -> int:
    return memory_need_bytes(replace(PLAN, num_slots=num_slots, num_ctx=num_ctx), facts)


@pytest.mark.parametrize(("room_for", "gets"), [(4, 4), (3, 2), (2, 2), (1, 1)])
def test_a_model_gets_the_slots_that_there_is_room_for(facts: GGUF, room_for: int, gets: int) -> None:
    assert context_bytes(PLAN, facts) > 1 << 20
    assert with_fewer_slots(PLAN, facts, (), need_bytes(facts, room_for)).num_slots == gets


def test_a_model_for_which_one_slot_is_too_many_keeps_its_plan(facts: GGUF) -> None:
    assert with_fewer_slots(PLAN, facts, (), need_bytes(facts, 1) - 1) == PLAN


@pytest.mark.parametrize("room_for", [512, 2048, 3840])
def test_the_largest_context_that_fits_is_named(facts: GGUF, room_for: int) -> None:
    told = what_fits(PLAN, facts, (), need_bytes(facts, 1, room_for))
    assert told == f"With HUTCH_NUM_PARALLEL=1 and num_ctx {room_for} it would fit."


def test_where_fewer_slots_would_do_that_is_said(facts: GGUF) -> None:
    assert what_fits(PLAN, facts, (), need_bytes(facts, 1)) == "With HUTCH_NUM_PARALLEL=1 it would fit."


def test_where_nothing_fits_that_is_said(facts: GGUF) -> None:
    assert (
        what_fits(PLAN, facts, (), 1000) == "No context is small enough: use a smaller model or quantisation."
    )
