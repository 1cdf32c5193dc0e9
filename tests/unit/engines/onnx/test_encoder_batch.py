"""The line before an encoder: merged, fair, bounded, and free of what nobody waits for any more."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hutch.core.errors import Busy, EngineFailed
from hutch.engines.onnx.encoder import Text
from hutch.engines.onnx.encoder_batch import EncoderBatch
from tests.unit.engines.scripted import run


def texts(*firsts: int, length: int = 3) -> list[Text]:
    """Texts that are known by their first token."""
    return [Text([first] * length, [0] * length) for first in firsts]


class Slow:
    """An encoder that answers with the first token, once it may. Token 13 breaks it, 14 is a defect."""

    width = 1

    def __init__(self) -> None:
        self.steps: list[list[int]] = []
        self.may_go = threading.Semaphore(0)
        self.began = threading.Event()

    def run(self, texts: Sequence[Text]) -> Any:
        self.began.set()
        assert self.may_go.acquire(timeout=20)
        firsts = [text.ids[0] for text in texts]
        self.steps.append(firsts)
        if 13 in firsts:
            raise EngineFailed("the graph is broken")
        if 14 in firsts:
            raise ZeroDivisionError
        return np.array(firsts, np.float32)[:, None]

    async def busy(self) -> None:
        """Return once a step runs."""
        assert await asyncio.to_thread(self.began.wait, 20)

    def go(self, steps: int = 1000) -> None:
        self.may_go.release(steps)


def test_what_comes_while_a_step_runs_is_computed_together() -> None:
    async def scenario() -> None:
        encoder = Slow()
        batch = EncoderBatch(encoder)
        first = asyncio.create_task(batch.run(texts(1)))
        await encoder.busy()
        others = [asyncio.create_task(batch.run(texts(number, number + 50))) for number in range(20, 25)]
        await asyncio.sleep(0.01)
        encoder.go()
        assert (await first).tolist() == [[1.0]]
        for number, rows in zip(range(20, 25), await asyncio.gather(*others), strict=True):
            assert rows.tolist() == [[number], [number + 50]]
        assert [len(step) for step in encoder.steps] == [1, 10]
        assert batch.num_requests == 0
        batch.close()

    run(scenario())


def test_a_short_request_does_not_wait_for_the_end_of_a_long_one() -> None:
    async def scenario() -> None:
        encoder = Slow()
        batch = EncoderBatch(encoder)
        long = asyncio.create_task(batch.run(texts(*range(100, 200), length=200)))
        await encoder.busy()
        short = asyncio.create_task(batch.run(texts(7)))
        await asyncio.sleep(0.01)
        encoder.go(3)
        assert (await short).tolist() == [[7.0]]
        assert not long.done()
        encoder.go()
        assert len(await long) == 100
        batch.close()

    run(scenario())


def test_a_request_that_is_given_up_takes_no_further_step() -> None:
    async def scenario() -> None:
        encoder = Slow()
        batch = EncoderBatch(encoder)
        given_up = asyncio.create_task(batch.run(texts(*range(100, 200), length=200)))
        await encoder.busy()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert batch.num_requests == 0
        encoder.go()
        assert (await batch.run(texts(7))).tolist() == [[7.0]]
        assert len(encoder.steps) == 2
        batch.close()

    run(scenario())


def test_a_failed_step_is_told_to_those_in_it_alone_and_the_line_goes_on() -> None:
    async def scenario() -> None:
        encoder = Slow()
        encoder.go()
        batch = EncoderBatch(encoder)
        with pytest.raises(EngineFailed, match="the graph is broken"):
            await batch.run(texts(13))
        with pytest.raises(EngineFailed, match="the encoder failed"):
            await batch.run(texts(14))
        assert (await batch.run(texts(1, 2))).tolist() == [[1.0], [2.0]]
        assert (await batch.run([])).shape == (0, 1)
        batch.close()

    run(scenario())


def test_the_line_is_bounded_but_takes_any_one_request() -> None:
    async def scenario() -> None:
        encoder = Slow()
        batch = EncoderBatch(encoder, max_waiting_tokens=100)
        long = asyncio.create_task(batch.run(texts(*range(20, 70))))
        await encoder.busy()
        with pytest.raises(Busy, match="too many texts"):
            await batch.run(texts(*range(20, 50)))
        encoder.go()
        assert len(await long) == 50
        assert (await batch.run(texts(1))).tolist() == [[1.0]]
        batch.close()

    run(scenario())


def test_closing_tells_those_who_wait() -> None:
    async def scenario() -> None:
        encoder = Slow()
        batch = EncoderBatch(encoder)
        first = asyncio.create_task(batch.run(texts(*range(100))))
        await encoder.busy()
        closing = asyncio.create_task(asyncio.to_thread(batch.close))
        await asyncio.sleep(0.01)
        encoder.go()
        await closing
        with pytest.raises(EngineFailed, match="unloaded"):
            await first
        with pytest.raises(EngineFailed, match="unloaded"):
            await batch.run(texts(1))

    run(scenario())
