"""Guesses: what is looked up, when they begin and end, and that they change no answer, only how many steps it takes."""

import asyncio
from collections.abc import Sequence
from threading import Semaphore

import pytest

from hutch.engines.onnx.answer import Piece
from hutch.engines.onnx.guesses import Guesses
from hutch.engines.onnx.sampling import Sampler, SamplingParams
from tests.unit.engines.onnx.batching import EOS, VOCAB, Counting, batch, run

LINE = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]


def test_guesses_begin_when_two_would_have_been_right_grow_and_end_with_a_wrong_one() -> None:
    guesses = Guesses(8)
    text = [*range(100, 140), 1, 2, 3]
    made = []
    for token in [*range(100, 105)]:
        text.append(token)
        made.append(list(guesses.next(text, 50)))
    assert made == [[], [], [], [], [105, 106]]  # three alike, then two that were right
    text += [105, 106, 107]
    assert guesses.next(text, 50) == [108, 109, 110, 111]
    text += [*range(108, 113)]
    assert guesses.next(text, 50) == [*range(113, 121)]
    text += [113, 114, 999]
    assert guesses.next(text, 50) == ()
    assert (guesses.num_made, guesses.num_true) == (14, 8)


@pytest.mark.parametrize("limit", [1, 0, -1])
def test_no_more_is_guessed_than_there_is_room_for(limit: int) -> None:
    guesses = Guesses(8)
    text = [*LINE, *LINE[:3]]
    for token in LINE[3:6]:
        guesses.next(text, 50)
        text.append(token)
    assert list(guesses.next(text, limit)) == LINE[6 : 6 + max(0, limit)]


def test_of_several_places_the_last_one_counts() -> None:
    guesses = Guesses(4)
    text = [1, 2, 3, 7, 1, 2, 3, 8, 9, 9, 1, 2, 3]
    guesses.next(text, 50)
    assert list(guesses._guess) == [8]


class Repeating(Counting):
    """Says a line over and over; every fifth time with another word in it; and ends in the middle of one."""

    def says(self, tokens: Sequence[int]) -> int:
        """By what came last."""
        if len(tokens) == 57:
            return EOS
        lap, place = divmod(len(tokens), len(LINE))
        return 77 if (lap, place) == (4, 3) else LINE[place]


@pytest.mark.parametrize("number", [5, 23, 24, 25, 60, -1])
@pytest.mark.parametrize("temperature", [0.0, 0.05])
def test_an_answer_is_the_same_with_guesses_and_takes_fewer_steps(number: int, temperature: float) -> None:
    async def scenario(num_together: int) -> tuple[list[int], str, int]:
        decoder = Repeating(num_together=num_together)
        async with batch(decoder) as asker:
            sampler = Sampler(SamplingParams(temperature=temperature, seed=3), VOCAB)
            told = asker.ask(LINE * 2, number, slot=0, sampler=sampler)
            await told.done.wait()
            steps = sum(what != "prefill" for what, _, _ in decoder.calls)
            return told.tokens, told.end.stop_type, steps

    plain, guessed = (asyncio.run(scenario(num)) for num in (0, 9))
    assert guessed[:2] == plain[:2]
    assert number == 5 or guessed[2] < plain[2] - 3


def test_what_was_guessed_wrongly_is_not_reused() -> None:
    async def scenario() -> None:
        decoder = Repeating(num_together=9)
        async with batch(decoder) as asker:
            first = asker.ask(LINE * 2, 26, slot=0, reuse=True)
            await first.done.wait()
            assert any(what == "read" for what, _, _ in decoder.calls)
            timings = first.end.timings
            assert timings.num_guessed > timings.num_true > 0
            whole = [*LINE * 2, *first.tokens]
            told = asker.ask([*whole, 1, 1], 3, slot=0, reuse=True)
            await told.done.wait()
            assert told.end.timings.num_cached == len(whole) - 1
            assert decoder.held[0, : len(whole)].tolist() == whole

    run(scenario())


def test_in_company_nothing_is_guessed() -> None:
    async def scenario() -> None:
        decoder = Repeating(num_together=9)
        decoder.gate = Semaphore(0)
        async with batch(decoder) as asker:
            told = [asker.ask(LINE * 2, 20, slot=slot) for slot in range(2)]
            decoder.gate.release(10**4)
            await asyncio.gather(*(each.done.wait() for each in told))
            assert not any(what == "read" for what, _, _ in decoder.calls)
            pieces = [event for each in told for event in each.events if isinstance(event, Piece)]
            assert len(pieces) == 40

    run(scenario())


def test_a_step_that_fails_ends_this_answer_and_spoils_the_row() -> None:
    async def scenario() -> None:
        decoder = Repeating(num_together=9)
        decoder.breaks = lambda what, _row: what == "read"
        async with batch(decoder) as asker:
            told = asker.ask(LINE * 2, 20, slot=0, reuse=True)
            await told.done.wait()
            assert "the engine failed" in told.failure.error.message
            decoder.breaks = lambda _what, _row: False
            again = asker.ask(LINE * 2, 20, slot=0, reuse=True)
            await again.done.wait()
            assert again.end.timings.num_cached == 0

    run(scenario())
