"""Several answers to one prompt: it is read once, and each of them goes on from it."""

import asyncio
from threading import Semaphore
from typing import Any

import pytest

from hutch.core.errors import BadInput
from hutch.engines.onnx.requests import Completion
from tests.unit.engines.onnx.batching import Counting, batch, continuation, run

_PROMPT = list(range(1, 40))


def _read(decoder: Counting) -> int:
    """How many tokens of prompts have been read."""
    return sum(number for what, _, number in decoder.calls if what == "prefill")


def test_the_prompt_is_read_once_for_all_choices() -> None:
    async def scenario() -> None:
        decoder = Counting()
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            first = asker.ask(_PROMPT, 8, slot=1)
            others = [asker.ask(_PROMPT, 8, slot=slot, behind=first.order) for slot in (0, 3)]
            decoder.gate.release(10**4)
            for told in (first, *others):
                await told.done.wait()
                assert told.tokens == continuation(_PROMPT, 8)
            assert [told.end.timings.num_cached for told in others] == [len(_PROMPT) - 2] * 2
        assert _read(decoder) == len(_PROMPT) + 2 * 2  # the last two tokens again for each
        assert [what for what, _, _ in decoder.calls].count("copy") == 2

    run(scenario())


def test_a_choice_waits_for_no_prompt_that_nobody_reads_any_more() -> None:
    async def scenario() -> None:
        decoder = Counting()
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            first = asker.ask(_PROMPT, 8, slot=0)
            other = asker.ask(_PROMPT, 8, slot=1, behind=first.order)
            first.cancel()
            decoder.gate.release(10**4)
            await other.done.wait()
            assert other.tokens == continuation(_PROMPT, 8)
            assert other.end.timings.num_cached == 0

    run(scenario())


def test_a_choice_that_comes_when_the_first_is_done_reads_the_prompt_itself() -> None:
    async def scenario() -> None:
        async with batch(Counting()) as asker:
            first = asker.ask(_PROMPT, 1, slot=0)
            await first.done.wait()
            other = asker.ask(_PROMPT, 8, slot=1, behind=first.order)
            await other.done.wait()
            assert other.tokens == continuation(_PROMPT, 8)

    run(scenario())


def test_a_decoder_that_cannot_copy_reads_the_prompt_for_each() -> None:
    class Stubborn(Counting):
        def copy(self, row: int, other: int, num_tokens: int) -> bool:
            return False

    async def scenario() -> None:
        decoder = Stubborn()
        async with batch(decoder) as asker:
            first = asker.ask(_PROMPT, 8, slot=0)
            other = asker.ask(_PROMPT, 8, slot=1, behind=first.order)
            for told in (first, other):
                await told.done.wait()
                assert told.tokens == continuation(_PROMPT, 8)
        assert _read(decoder) == 2 * len(_PROMPT)

    run(scenario())


def test_others_are_answered_while_a_choice_waits() -> None:
    async def scenario() -> None:
        async with batch(Counting(), max_chunk=4) as asker:
            first = asker.ask(_PROMPT, 2, slot=0)
            other = asker.ask(_PROMPT, 2, slot=1, behind=first.order)
            stranger = asker.ask([7, 8], 2, slot=2)
            await asyncio.gather(*(told.done.wait() for told in (first, other, stranger)))
            assert stranger.tokens == continuation([7, 8], 2)

    run(scenario())


def test_what_is_asked_of_choices_is_read() -> None:
    asked = Completion.parse({"prompt": "a", "n_cmpl": 3, "id_slots": [2, 0], "id_slot": 1})
    assert (asked.num_choices, asked.slot, asked.further_slots) == (3, 1, (2, 0))
    plain = Completion.parse({"prompt": "a"})
    assert (plain.num_choices, plain.further_slots) == (1, ())


@pytest.mark.parametrize(
    "body", [{"n_cmpl": 0}, {"n_cmpl": 1 << 20}, {"n_cmpl": "2"}, {"id_slots": 3}, {"id_slots": [-1]}]
)
def test_what_is_no_number_of_choices_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Completion.parse({"prompt": "a", **body})
