"""The batch: who computes when, and that no answer ever sees another one's tokens."""

import asyncio
import itertools
from collections.abc import Sequence
from threading import Semaphore

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx.answer import Piece, Progress
from hutch.engines.onnx.sampling import Bools, Sampler, SamplingParams
from tests.unit.engines.onnx.batching import (
    EOS,
    VOCAB,
    Counting,
    Told,
    batch,
    continuation,
    run,
)


def test_answers_at_once_are_what_each_is_alone() -> None:
    async def scenario() -> None:
        decoder = Counting()
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            prompts = [list(range(1, 4 + 9 * i)) for i in range(4)]
            told = [asker.ask(prompt, 6 + i, slot=i) for i, prompt in enumerate(prompts)]
            decoder.gate.release(10**4)
            await asyncio.gather(*(each.done.wait() for each in told))
            for i, (prompt, each) in enumerate(zip(prompts, told, strict=True)):
                assert each.tokens == continuation(prompt, 6 + i)
                assert (each.end.stop_type, each.end.timings.num_prompt) == ("limit", len(prompt))
        assert max(number for what, _, number in decoder.calls if what == "decode") > 1

    run(scenario())


def test_a_slot_s_own_prefix_is_reused_when_asked_and_only_then() -> None:
    async def scenario() -> None:
        async with batch(Counting()) as asker:
            first, longer = list(range(20)), [*range(20), 7, 8, 9]
            for prompt, reuse, cached in (
                (first, True, 0),
                (longer, True, 20),
                (longer, True, 21),  # the last two are read anew
                (longer, False, 0),
                ([5, *longer], True, 0),
            ):
                told = asker.ask(prompt, 4, slot=2, reuse=reuse)
                await told.done.wait()
                assert told.tokens == continuation(prompt, 4)
                assert told.end.timings.num_cached == cached
                assert told.end.timings.num_prompt == len(prompt) - cached

    run(scenario())


def test_what_an_answer_said_is_reused_too() -> None:
    async def scenario() -> None:
        async with batch(Counting()) as asker:
            prompt = [3, 4, 5]
            told = asker.ask(prompt, 6, slot=0, reuse=True)
            await told.done.wait()
            turn = [*prompt, *told.tokens, 11, 12]
            told = asker.ask(turn, 3, slot=0, reuse=True)
            await told.done.wait()
            assert told.tokens == continuation(turn, 3)
            assert told.end.timings.num_cached == 8  # the last token said was never put into the row

    run(scenario())


def test_a_prompt_with_images_is_read_at_once_and_nothing_of_it_is_kept() -> None:
    async def scenario() -> None:
        decoder = Counting()
        prepared: list[int] = []
        async with batch(decoder, max_chunk=4) as asker:
            prompt = list(range(20))
            for _ in range(2):  # of the same slot: these tokens may have come of another image
                told = asker.ask(prompt, 4, slot=2, reuse=True, prepare=prepared.append)
                await told.done.wait()
                assert told.tokens == continuation(prompt, 4)
                assert told.end.timings.num_cached == 0
            assert [call for call in decoder.calls if call[0] == "prefill"] == [("prefill", 2, 20)] * 2
            assert prepared == [2, 2]

    run(scenario())


def test_nothing_is_kept_of_a_request_without_a_slot() -> None:
    async def scenario() -> None:
        async with batch(Counting(num_rows=1)) as asker:
            prompt = list(range(10))
            for slot in (-1, 0):
                told = asker.ask(prompt, 2, slot=slot, reuse=True)
                await told.done.wait()
                assert told.end.timings.num_cached == 0

    run(scenario())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_tokens_of_others_whatever_comes_and_goes(data: st.DataObject) -> None:
    num_tokens = data.draw(st.sampled_from([10**6, 150, 70]))
    orders = data.draw(
        st.lists(
            st.tuples(
                st.lists(st.integers(0, 3), min_size=1, max_size=40),  # few values: prefixes are often shared
                st.integers(0, 12),
                st.integers(0, 3),
                st.booleans(),
                st.sampled_from([None, None, None, 1, 4]),  # after so many events the client leaves
            ),
            min_size=1,
            max_size=14,
        )
    )

    async def one(told: Told, leaves_after: int | None) -> None:
        while not told.done.is_set():
            if leaves_after is not None and len(told.events) >= leaves_after:
                told.cancel()
                return
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with batch(Counting(), num_tokens, max_chunk=16) as asker:
            asked = [(asker.ask(p, n, slot=s, reuse=r), p, n, left) for p, n, s, r, left in orders]
            await asyncio.gather(*(one(told, left) for told, _, _, left in asked))
            for told, prompt, number, left in asked:
                if left is None:
                    assert told.tokens == continuation(prompt, number)
                else:
                    assert told.tokens == continuation(prompt, len(told.tokens))

    run(scenario())


def test_a_late_short_request_is_in_the_next_step_after_its_own_prompt() -> None:
    async def scenario() -> None:
        decoder = Counting(num_rows=8)
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            old = [asker.ask([i, i + 1], 40, slot=i) for i in range(7)]
            decoder.gate.release(30)
            while any(len(each.tokens) < 3 for each in old):
                await asyncio.sleep(0.001)
            late = asker.ask(list(range(16)), 8, slot=7)
            decoder.gate.release(10**4)
            await late.done.wait()
            await asyncio.gather(*(each.done.wait() for each in old))
        kinds = [(what, number) for what, row, number in decoder.calls]
        joined = kinds.index(("prefill", 16))
        assert kinds[joined + 1] == ("decode", 8)

    run(scenario())


def test_one_that_leaves_is_gone_after_the_step_that_runs() -> None:
    async def scenario() -> None:
        decoder = Counting()
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            stays, leaves = asker.ask([1, 2], 30, slot=0), asker.ask([3, 4], 30, slot=1)
            decoder.gate.release(6)
            while len(leaves.tokens) < 3:
                await asyncio.sleep(0.001)
            assert set(asker.batch.num_written) == {0, 1}
            leaves.cancel()
            decoder.gate.release(2)
            while set(asker.batch.num_written) != {0}:
                await asyncio.sleep(0.001)
            decoder.gate.release(10**4)
            await stays.done.wait()
            assert stays.tokens == continuation([1, 2], 30)

    run(scenario())


def test_one_that_leaves_while_it_waits_is_never_computed() -> None:
    async def scenario() -> None:
        decoder = Counting(num_rows=1)
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            first, second = asker.ask([1, 2], 3, slot=0), asker.ask([5] * 9, 3, slot=0)
            second.cancel()
            decoder.gate.release(10**4)
            await first.done.wait()
            await asyncio.sleep(0.01)
            assert second.events == []
        assert ("prefill", 0, 9) not in decoder.calls

    run(scenario())


def test_a_gap_is_closed_and_answers_go_on() -> None:
    async def scenario() -> None:
        decoder = Counting(num_rows=4)
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            told = [asker.ask([i, i], 4 if i in (1, 2) else 50, slot=i) for i in range(4)]
            decoder.gate.release(10**4)
            await asyncio.gather(*(each.done.wait() for each in told))
            assert told[3].tokens == continuation([3, 3], 50)
            assert told[0].tokens == continuation([0, 0], 50)
            again = asker.ask([1, 1, *told[1].tokens[:3], 6, 6], 3, slot=1, reuse=True)
            await again.done.wait()
            assert again.end.timings.num_cached == 5  # what had to make place is still there
        assert any(what == "swap" for what, _, _ in decoder.calls)
        assert decoder.calls[-6][0] != "swap"

    run(scenario())


def test_memory_is_kept_to_the_cap_and_requests_wait_their_turn() -> None:
    async def scenario() -> None:
        decoder = Counting(num_rows=4, num_ctx=64)
        async with batch(decoder, num_tokens=70) as asker:
            busy: list[int] = []

            def look(_what: str, _row: int) -> bool:
                busy.append(len(asker.batch.num_written))
                return False

            decoder.breaks = look
            told = [asker.ask([i] * 20, 10, slot=i) for i in range(4)]
            await asyncio.gather(*(each.done.wait() for each in told))
            assert max(busy) == 2  # thirty tokens each
            for i, each in enumerate(told):
                assert each.tokens == continuation([i] * 20, 10)
        assert decoder.freed  # what ended first has made room

    run(scenario())


def test_an_open_end_reserves_the_context_and_so_runs_alone() -> None:
    async def scenario() -> None:
        async with batch(Counting(num_rows=2, num_ctx=64), num_tokens=64) as asker:
            told = [asker.ask([i, i], -1, slot=i) for i in range(2)]
            await asyncio.gather(*(each.done.wait() for each in told))
            for i, each in enumerate(told):
                assert each.tokens == continuation([i, i], 62)
                assert (each.end.stop_type, each.end.is_truncated) == ("limit", True)

    run(scenario())


def test_a_step_that_fails_ends_its_answers_and_not_the_worker() -> None:
    async def scenario() -> None:
        decoder = Counting()
        async with batch(decoder) as asker:
            decoder.breaks = lambda what, row: what == "decode"
            told = [asker.ask([i, i + 1], 5, slot=i) for i in range(3)]
            await asyncio.gather(*(each.done.wait() for each in told))
            assert {type(each.failure.error) for each in told} == {EngineFailed}
            decoder.breaks = lambda what, row: False
            again = asker.ask([0, 1], 5, slot=0, reuse=True)
            await again.done.wait()
            assert again.tokens == continuation([0, 1], 5)
            assert again.end.timings.num_cached == 0  # nobody knows what the failed step left there

    run(scenario())


def test_a_prompt_that_fails_is_its_own_affair() -> None:
    async def scenario() -> None:
        decoder = Counting()
        decoder.breaks = lambda what, row: (what, row) == ("prefill", 1)
        async with batch(decoder) as asker:
            good, bad = asker.ask([1, 2], 9, slot=0), asker.ask([3, 4], 9, slot=1)
            await asyncio.gather(good.done.wait(), bad.done.wait())
            assert good.tokens == continuation([1, 2], 9)
            assert bad.failure.error.hint

    run(scenario())


class _Forbidding:
    """Allows nothing after two tokens."""

    is_complete = False

    def __init__(self) -> None:
        self._num_accepted = 0

    def mask(self) -> Bools:
        return np.full(VOCAB, self._num_accepted < 2)

    def accept(self, token: int) -> None:
        self._num_accepted += 1


def test_what_goes_wrong_in_choosing_ends_that_answer_alone() -> None:
    async def scenario() -> None:
        async with batch(Counting()) as asker:
            good, bad = asker.ask([1, 2], 9, slot=0), asker.ask([3], 9, slot=1, constraint=_Forbidding())
            await asyncio.gather(good.done.wait(), bad.done.wait())
            assert good.tokens == continuation([1, 2], 9)
            assert isinstance(bad.failure.error, BadInput)
            assert len(bad.tokens) == 2

    run(scenario())


def test_the_end_a_stop_and_no_tokens_at_all() -> None:
    async def scenario() -> None:
        async with batch(Counting()) as asker:
            ends = Sampler(SamplingParams(temperature=0, logit_bias=((EOS, 50.0),)), VOCAB)
            told = asker.ask([1], 9, sampler=ends)
            await told.done.wait()
            assert (told.tokens, told.end.stop_type, told.end.timings.num_predicted) == ([EOS], "eos", 1)
            third = continuation([1, 2], 3)[-1]
            told = asker.ask([1, 2], 9, stops=(f"[{third}",))
            await told.done.wait()
            assert (told.end.stop_type, told.end.stopping_word) == ("word", f"[{third}")
            text = "".join(event.text for event in told.events if isinstance(event, Piece)) + told.end.text
            assert text == "".join(f"[{token}]" for token in continuation([1, 2], 2))
            told = asker.ask([1, 2], 0)
            await told.done.wait()
            assert (told.tokens, told.end.stop_type) == ([], "limit")

    run(scenario())


def test_progress_is_told_for_each_chunk() -> None:
    async def scenario() -> None:
        async with batch(Counting(num_ctx=128), max_chunk=16) as asker:
            told = asker.ask(list(range(49)), 1, slot=0, reuse=True)
            await told.done.wait()
            read = [event.num_processed for event in told.events if isinstance(event, Progress)]
            assert (read[0], read[-1]) == (0, 49)
            assert all(later > earlier for earlier, later in itertools.pairwise(read))
            assert 48 not in read  # no last chunk of one token

    run(scenario())


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_busy_slot_s_next_request_lets_others_pass(order: Sequence[int]) -> None:
    async def scenario() -> None:
        decoder = Counting()
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            told = [asker.ask([i, 1], 5, slot=0) for i in order] + [asker.ask([9, 9], 5, slot=1)]
            decoder.gate.release(4)
            while not told[-1].tokens:
                await asyncio.sleep(0.001)
            decoder.gate.release(10**4)
            await asyncio.gather(*(each.done.wait() for each in told))
            for i, each in zip(order, told, strict=False):
                assert each.tokens == continuation([i, 1], 5)

    run(scenario())
