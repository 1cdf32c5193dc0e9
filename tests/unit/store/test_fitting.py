"""Which variant of a model suits a machine."""

import pytest

from hutch.core.names import ModelName
from hutch.store import fitting
from hutch.store.cards import Card, Variant
from hutch.store.fitting import Machine

GB = 10**9
BIG = Variant("q8_0", "gguf", "Q8_0", ("cpu", "gpu"), 8 * GB, source="m:8")
SMALL = Variant("q4_0", "gguf", "Q4_0", ("cpu", "gpu"), 4 * GB, source="m:4")
ON_NPU = Variant("onnx-npu-int4", "onnx", "int4", ("npu",), 5 * GB, source="m:n")
ON_GPU = Variant("onnx-gpu-int4", "onnx", "int4", ("gpu",), 3 * GB, source="m:g")
CARD = Card(
    (ModelName.parse("m"),),
    "p",
    "M",
    "instruct",
    8 * GB,
    4096,
    "MIT",
    ("completion",),
    0,
    (BIG, SMALL, ON_NPU, ON_GPU),
)
ALL = ("cpu", "gpu", "npu")


@pytest.mark.parametrize(
    ("memory_gb", "kinds", "preference", "chosen", "reason"),
    [
        (64, ("cpu",), (), BIG, "the usual variant"),
        (64, ALL, (), BIG, "the usual variant"),
        (64, ALL, ("npu", "gpu", "cpu"), ON_NPU, "the first for hardware npu,gpu,cpu"),
        (64, ("cpu",), ("npu", "gpu", "cpu"), BIG, "the usual variant"),
        (64, ALL, ("openvino:npu",), ON_NPU, "the first for hardware openvino:npu"),
        (64, ALL, ("cuda",), BIG, "the usual variant"),
        (6, ("cpu",), (), SMALL, "the first that fits in memory (q8_0 needs 8.2 GB)"),
        (6, ALL, ("npu",), ON_NPU, "the first for hardware npu"),
        (5, ALL, ("npu",), SMALL, "the first that fits in memory (q8_0 needs 8.2 GB)"),
        (1, ("cpu",), (), ON_GPU, "the variant that takes the least memory"),
    ],
)
def test_memory_comes_first_then_the_device_then_the_cards_order(
    memory_gb: int, kinds: tuple[str, ...], preference: tuple[str, ...], chosen: Variant, reason: str
) -> None:
    machine = Machine(memory_gb * GB, 0, kinds, preference)
    choice = fitting.choose(CARD, CARD.variants, machine)
    assert (choice.variant, choice.reason) == (chosen, reason)
    assert bool(choice.warning) == (memory_gb == 1)


def test_a_gpu_that_has_more_memory_counts() -> None:
    choice = fitting.choose(CARD, CARD.variants, Machine(4 * GB, 24 * GB, ("cpu", "gpu")))
    assert (choice.variant, choice.warning) == (BIG, "")


def test_what_was_named_is_taken_and_warned_of() -> None:
    choice = fitting.choose(CARD, [BIG], Machine(4 * GB))
    assert (choice.variant, choice.reason) == (BIG, "the variant that was named")
    assert (
        choice.warning
        == "it needs about 8.2 GB of memory, and this machine has 3.6 GB for it: it will hardly load"
    )


def test_contexts_count_and_are_wider_in_onnx() -> None:
    card = Card(CARD.names, "p", "M", "instruct", 8 * GB, 4096, "MIT", ("completion",), 1000, CARD.variants)
    num_tokens = 4 * 4096
    assert card.need_bytes(SMALL) - CARD.need_bytes(SMALL) == 1000 * num_tokens
    assert card.need_bytes(ON_NPU) - CARD.need_bytes(ON_NPU) == 2000 * num_tokens
