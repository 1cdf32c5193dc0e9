"""What of a plan fits into memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.formats import headers
from hutch.formats.gguf import GGUF, has_kv_in_blocks_of
from hutch.runtime.fitting import Open, fitted, lessened, what_fits
from hutch.runtime.launch import memory_need_bytes
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


ANYTHING = Open(num_slots=True, kv_cache_type=True, num_ctx=True)


@pytest.mark.parametrize(
    ("undecided", "room_for", "gets"),
    [
        (ANYTHING, {}, {}),
        (ANYTHING, {"num_slots": 3}, {"num_slots": 2}),
        (ANYTHING, {"num_slots": 1}, {"num_slots": 1}),
        (
            ANYTHING,
            {"num_slots": 1, "num_ctx": 3072},
            {"num_slots": 1, "kv_cache_type": "q8_0"},
        ),
        (
            ANYTHING,
            {"num_slots": 1, "num_ctx": 1280},
            {"num_slots": 1, "kv_cache_type": "q8_0", "num_ctx": 2048},
        ),
        (  # nothing does: the smallest, of which is said what would
            ANYTHING,
            {"num_slots": 1, "num_ctx": 512},
            {"num_slots": 1, "kv_cache_type": "q8_0", "num_ctx": 2048},
        ),
        (Open(), {"num_slots": 1}, {}),
        (Open(num_slots=True), {"num_slots": 1, "num_ctx": 512}, {"num_slots": 1}),
        (Open(kv_cache_type=True), {"num_slots": 3}, {"kv_cache_type": "q8_0"}),
        (Open(num_ctx=True), {"num_slots": 2}, {"num_ctx": 2048}),
    ],
)
def test_memory_decides_what_nobody_has_said(
    facts: GGUF, undecided: Open, room_for: dict[str, Any], gets: dict[str, Any]
) -> None:
    room_bytes = memory_need_bytes(replace(PLAN, **room_for), facts)
    assert fitted(PLAN, facts, (), room_bytes, undecided) == replace(PLAN, **gets)


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, draft="draft.gguf"),
        replace(PLAN, engine="onnx"),
        replace(PLAN, kv_cache_type="q4_0"),
    ],
)
def test_a_cache_type_is_not_made_smaller_where_that_cannot_be(facts: GGUF, plan: LaunchPlan) -> None:
    assert fitted(plan, facts, (), 0, Open(kv_cache_type=True)) == plan


def test_heads_that_are_no_whole_blocks_keep_their_type(tmp_path: Path) -> None:
    file = tmp_path / "narrow.gguf"
    file.write_bytes(tiny_model({"llama.block_count": 2, "llama.embedding_length": 80}))
    narrow = headers.header(file)
    assert not has_kv_in_blocks_of(narrow, 32)
    assert fitted(PLAN, narrow, (), 0, Open(kv_cache_type=True)) == PLAN


def test_flash_attention_that_was_tuned_away_comes_back_with_the_type_that_needs_it(facts: GGUF) -> None:
    plan = replace(PLAN, flash_attention=False)
    assert fitted(plan, facts, (), 0, Open(kv_cache_type=True)).flash_attention is None


def test_what_memory_made_less_is_said() -> None:
    assert lessened(PLAN, PLAN) == ()
    less = replace(PLAN, num_slots=1, kv_cache_type="q8_0", num_ctx=2048)
    assert lessened(PLAN, less) == (
        "1 of 4 slots",
        "its contexts in q8_0, not f16",
        "2048 of 4096 tokens of context",
    )


SMALL, ONE = {"kv_cache_type": "q8_0"}, {"num_slots": 1}


@pytest.mark.parametrize(
    ("plan", "room_for", "told"),
    [
        ({}, {"num_slots": 3}, "With HUTCH_NUM_PARALLEL=3 it would fit."),
        ({}, ONE, "With HUTCH_NUM_PARALLEL=1 it would fit."),
        (
            {},
            ONE | {"num_ctx": 3840},
            "With HUTCH_NUM_PARALLEL=1 and HUTCH_KV_CACHE_TYPE=q8_0 it would fit.",
        ),
        (ONE, {"num_ctx": 3840} | ONE, "With HUTCH_KV_CACHE_TYPE=q8_0 it would fit."),
        (
            ONE,
            {"num_ctx": 1024} | ONE,
            "With num_ctx 1024 (1792 with HUTCH_KV_CACHE_TYPE=q8_0) it would fit.",
        ),
        (
            {},
            ONE | SMALL | {"num_ctx": 512},
            "With HUTCH_NUM_PARALLEL=1 and HUTCH_KV_CACHE_TYPE=q8_0 and num_ctx 512 it would fit.",
        ),
        (SMALL | ONE, ONE | SMALL | {"num_ctx": 2048}, "With num_ctx 2048 it would fit."),
        (SMALL, ONE | SMALL | {"num_ctx": 3840}, "With HUTCH_NUM_PARALLEL=1 and num_ctx 3840 it would fit."),
        ({"flash_attention": False} | ONE, ONE | {"num_ctx": 2048}, "With num_ctx 2048 it would fit."),
    ],
)
def test_what_would_fit_is_named(
    facts: GGUF, plan: dict[str, Any], room_for: dict[str, Any], told: str
) -> None:
    room_bytes = memory_need_bytes(replace(PLAN, **room_for), facts)
    assert what_fits(replace(PLAN, **plan), facts, (), room_bytes) == told


def test_where_nothing_fits_that_is_said(facts: GGUF) -> None:
    assert (
        what_fits(PLAN, facts, (), 1000) == "No context is small enough: use a smaller model or quantisation."
    )
