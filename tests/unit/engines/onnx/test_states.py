"""States of rows: what is restored is as if it had just been read, and what is no state harms nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hutch.core.errors import BadInput
from hutch.engines.onnx import states
from hutch.engines.onnx.rows import Rows
from tests.unit.engines.onnx.batching import Counting, batch, continuation, expected, run

PROMPT = list(range(1, 31))


class Wide(Counting):
    """A decoder of another shape."""

    def views(self, row: int, num_tokens: int) -> list[NDArray[Any]]:
        """Two heads."""
        return [np.zeros((2, num_tokens, 1))]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """What a row holds that has read the prompt."""
    decoder = Counting()
    rows = Rows(decoder, 10**6)
    row = rows.lay(1, PROMPT)
    assert row
    rows.views(row, len(PROMPT))[0][:] = np.reshape(PROMPT, (1, -1, 1))
    assert states.save(rows, 1, tmp_path / "state") == len(PROMPT)
    return tmp_path / "state"


def test_an_answer_goes_on_from_what_another_worker_has_read(tmp_path: Path) -> None:
    path = tmp_path / "state"

    async def scenario() -> None:
        async with batch(Counting()) as asker:
            told = asker.ask(PROMPT, slot=1)
            await told.done.wait()
            num = await asker.batch.between_steps(lambda rows: states.save(rows, 1, path))
            assert num == len(PROMPT) + 4  # the last token was never read
        async with batch(Counting()) as asker:
            other = asker.ask([7, 8, 9], slot=0)  # an answer beside it is not disturbed
            assert await asker.batch.between_steps(lambda rows: states.restore(rows, 2, path)) == num
            assert asker.batch.num_held[2] == num
            longer = [*PROMPT, *told.tokens, 5, 6]
            again = asker.ask(longer, slot=2, reuse=True)
            await asyncio.gather(again.done.wait(), other.done.wait())
            assert again.end.timings.num_cached == num
            assert again.tokens == continuation(longer, 5)
            assert other.tokens == continuation([7, 8, 9], 5)

    run(scenario())


def test_what_was_in_the_row_before_is_gone(saved: Path) -> None:
    async def scenario() -> None:
        async with batch(Counting()) as asker:
            await asker.ask([50, 51, 52, 53], slot=1).done.wait()
            await asker.batch.between_steps(lambda rows: states.restore(rows, 1, saved))
            told = asker.ask([50, 51, 52, 53], slot=1, reuse=True)
            await told.done.wait()
            assert told.end.timings.num_cached == 0
            assert told.tokens[0] == expected([50, 51, 52, 53])

    run(scenario())


def test_a_busy_slot_is_left_alone(saved: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        decoder = Counting()
        async with batch(decoder) as asker:
            told = asker.ask(PROMPT, 20, slot=1)
            while not told.tokens:
                await asyncio.sleep(0.001)
            decoder.gate = type(decoder.gate)(0)  # it is in the midst of its answer
            tries: list[Callable[[Rows], int]] = [
                lambda rows: states.save(rows, 1, tmp_path / "no"),
                lambda rows: states.restore(rows, 1, saved),
            ]
            waiting = [asker.batch.between_steps(each) for each in tries]
            decoder.gate.release(1)
            results = await asyncio.gather(*waiting, return_exceptions=True)
            if not told.done.is_set():
                assert all(isinstance(each, BadInput) for each in results)
            decoder.gate.release(10**6)
            await told.done.wait()
            assert told.tokens == continuation(PROMPT, 20)

    run(scenario())


def _rows(decoder: Counting | None = None, num_tokens: int = 10**6) -> Rows:
    return Rows(decoder or Counting(), num_tokens)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data[: data.index(b"\n") + 9],
        lambda data: b"{}\n" + data,
        lambda data: data.replace(b"hutch row", b"other row"),
        lambda data: data.replace(b", 30, [[", b", 31, [["),
        lambda data: data.replace(b", 30, [[", b", -1, [["),
        lambda data: data.replace(b"<i8", b"<f4"),
    ],
)
def test_what_is_no_state_of_this_model_is_refused_and_leaves_the_row_empty(
    saved: Path, change: Callable[[bytes], bytes]
) -> None:
    saved.write_bytes(change(saved.read_bytes()))
    rows = _rows()
    with pytest.raises(BadInput):
        states.restore(rows, 1, saved)
    assert rows.num_held[1] == 0


@pytest.mark.parametrize("rows", [_rows(Wide()), _rows(Counting(num_ctx=16)), _rows(num_tokens=16)])
def test_a_state_of_another_shape_or_without_room_is_refused(saved: Path, rows: Rows) -> None:
    with pytest.raises(BadInput):
        states.restore(rows, 1, saved)
    assert rows.num_held[1] == 0
