"""What is computed between two looks at who has come and who has left: a chunk of a prompt, and a token for every answer.

An error in a step ends the answers that were in it, and nothing else.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from hutch.core.errors import EngineFailed, HutchError
from hutch.engines.onnx.answer import End, Event, Failed, Sink
from hutch.engines.onnx.pace import Pace
from hutch.engines.onnx.rows import Memory, Row, Rows
from hutch.engines.onnx.sampling import Floats

_log = logging.getLogger(__name__)
_NUM_AT_ONCE = 4  # tokens of an answer that are told as soon as they are there


class Decoder(Memory, Protocol):
    """What the batch asks of a session. Logits are valid until the next call."""

    def prefill(self, row: int, ids: Sequence[int], start: int, *, want_logits: bool = True) -> Floats | None:
        """Put tokens into a row; the logits [vocab] after the last one, if wanted."""

    def decode(self, first: int, ids: Sequence[int], starts: Sequence[int]) -> Floats:
        """Put a token into each row from the first one on, -1: any token; the logits [rows, vocab]."""


class Steps:
    """The steps of one decoder. What they have to tell gathers in `outbox`."""

    def __init__(self, decoder: Decoder, rows: Rows, max_chunk: int) -> None:
        self._decoder = decoder
        self._rows = rows
        self._pace = Pace(max_chunk)
        self._is_oldest_next = True
        self.outbox: list[tuple[Sink, Sequence[Event]]] = []
        self.is_pressing = False  # whether anything in there should not wait

    def prefill(self) -> None:
        """Read a chunk of a prompt: by turns of the one that came first, and of the one that is done soonest."""
        busy = self._rows.busy
        reading = [(index, row) for index, row in busy if not row.is_decoding]
        if not reading:
            return
        by_age = self._is_oldest_next
        self._is_oldest_next = not by_age
        index, row = min(reading, key=lambda each: each[1].used if by_age else each[1].num_left)
        answer = row.answer
        assert answer is not None  # noqa: S101  it is among the busy ones
        prepare = answer.order.prepare
        num, learn = row.num_left, _ignored
        if prepare is None:
            num_new = len(answer.tokens) - answer.num_cached
            num = self._pace.chunk(num, num_new, len(busy) - len(reading), len(busy))
            learn = self._pace.prefilled
        if not num:
            return
        is_last = num == row.num_left
        with self._failing([row]), self._timed(learn, num):
            if prepare is not None:
                prepare(index)
            ids = row.tokens[row.num_held : row.num_held + num]
            logits = self._decoder.prefill(index, ids, row.num_held, want_logits=is_last)
            row.hold(row.num_held + num)
            self.tell(answer.sink, [answer.progress(row.num_held)])
            if logits is not None:
                answer.is_decoding = True
                self._take(row, logits)

    def decode(self) -> None:
        """One token more for every answer that is being written."""
        first, window = self._rows.window()
        if not window:
            return
        decoding = [row for row in window if row.is_decoding]
        with self._failing(decoding), self._timed(self._pace.decoded, len(decoding)):
            starts = [row.lend(self._decoder.num_ctx) for row in window]
            logits = self._decoder.decode(first, [row.next_token for row in window], starts)
            for row, row_logits in zip(window, logits, strict=True):
                if row.is_decoding:
                    row.hold(row.num_held + 1)
                    self._take(row, row_logits)

    def tell(self, sink: Sink, events: Sequence[Event], *, may_wait: bool = False) -> None:
        """Put events into the outbox."""
        self.outbox.append((sink, events))
        self.is_pressing = self.is_pressing or not may_wait

    def _take(self, row: Row, logits: Floats) -> None:
        """Choose an answer's next token. What goes wrong here is this answer's alone."""
        answer = row.answer
        assert answer is not None  # noqa: S101  it decodes
        with self._failing([row]):
            events = answer.take(logits, self._decoder.num_ctx)
            is_over = isinstance(events[-1], End)
            self.tell(answer.sink, events, may_wait=not is_over and answer.num_predicted > _NUM_AT_ONCE)
            if is_over:
                self._rows.release(row)

    @contextmanager
    def _failing(self, rows: Sequence[Row]) -> Iterator[None]:
        """An error in here ends the answers of these rows, not the worker."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  the loop of the worker
            if isinstance(error, HutchError):
                failure = error
            else:
                _log.exception("a step failed")
                failure = EngineFailed(f"the engine failed: {error}", hint="Send the request again.")
            for row in rows:
                if row.answer is not None:
                    self.tell(row.answer.sink, [Failed(failure)])
                    self._rows.spoil(row)

    @contextmanager
    def _timed(self, tell: Callable[[int, float], None], number: int) -> Iterator[None]:
        began_s = time.perf_counter()
        yield
        tell(number, time.perf_counter() - began_s)


def _ignored(num_tokens: int, took_s: float) -> None:
    """A prompt with images was read, which tells nothing of what text takes."""
