"""The thread that computes: prompts in chunks, and one token for every answer in each step.

Answers come and go between two steps. What a step gave is handed to the event loop once for all of them.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from hutch.core.errors import EngineFailed, HutchError
from hutch.engines.onnx.answer import Answer, End, Event, Failed, Order, Sink
from hutch.engines.onnx.pace import Pace
from hutch.engines.onnx.rows import Memory, Row, Rows
from hutch.engines.onnx.sampling import Floats

_log = logging.getLogger(__name__)


class Decoder(Memory, Protocol):
    """What the batch asks of a session. Logits are valid until the next call."""

    def prefill(self, row: int, ids: Sequence[int], start: int, *, want_logits: bool = True) -> Floats | None:
        """Put tokens into a row; the logits [vocab] after the last one, if wanted."""

    def decode(self, first: int, ids: Sequence[int], starts: Sequence[int]) -> Floats:
        """Put a token into each row from the first one on, -1: any token; the logits [rows, vocab]."""


class Batcher:
    """Computes orders. `num_tokens`: how many the cache may hold; `max_chunk`: of a prompt, how many are read in one step."""

    def __init__(self, decoder: Decoder, num_tokens: int, max_chunk: int) -> None:
        self._decoder = decoder
        self._loop = asyncio.get_running_loop()
        self._rows = Rows(decoder, max(num_tokens, decoder.num_ctx))
        self._pace = Pace(max_chunk)
        self._inbox: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._waiting: list[Answer] = []
        self._outbox: list[tuple[Sink, Sequence[Event]]] = []
        self._is_oldest_next = True
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="batch", daemon=True)
        self._thread.start()

    def submit(self, order: Order, sink: Sink) -> Callable[[], None]:
        """Have an order computed. Its events come to `sink` on the event loop; what is returned cancels it within one step."""
        answer = Answer(order, sink)
        self._inbox.put(answer)

        def cancel() -> None:
            answer.is_cancelled = True
            self._inbox.put(None)

        return cancel

    @property
    def busy_slots(self) -> set[int]:
        """The slots whose rows have an answer."""
        return {row.slot for _, row in self._rows.busy}

    @property
    def num_written(self) -> dict[int, int]:
        """How many tokens the answer in each of these slots has so far."""
        return {row.slot: row.answer.num_predicted for _, row in self._rows.busy if row.answer is not None}

    def close(self) -> None:
        """End the thread after the step that runs. Answers that are not whole get no further events."""
        self._is_closed = True
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._is_closed:
                self._receive()
                self._drop_cancelled()
                self._admit()
                self._prefill()
                self._deliver()
                self._decode()
                self._deliver()
        except Exception:  # noqa: BLE001  the loop of the worker
            _log.exception(
                "the batch is in no known state: this worker ends, and the front starts another one"
            )
            os._exit(70)

    def _receive(self) -> None:
        """Take what has come; with nothing to compute, wait for it."""
        is_idle = not self._rows.busy and not self._waiting
        while True:
            try:
                answer = self._inbox.get(block=is_idle)
            except queue.Empty:
                return
            is_idle = False
            if answer is not None:
                self._waiting.append(answer)

    def _drop_cancelled(self) -> None:
        self._waiting = [answer for answer in self._waiting if not answer.is_cancelled]
        for _, row in self._rows.busy:
            if row.answer is not None and row.answer.is_cancelled:
                self._rows.release(row)

    def _admit(self) -> None:
        """Give rows to those who wait, in order; one whose slot is busy lets those behind it pass."""
        busy: set[int] = set()
        for answer in list(self._waiting):
            slot = answer.order.slot
            if slot in busy:
                continue
            row = self._rows.admit(answer)
            if row is not None:
                self._waiting.remove(answer)
                self._outbox.append((answer.sink, [answer.progress(row.num_held)]))
            elif self._rows.has_free(slot):
                return  # it waits for memory: whoever passed it now could make it wait for ever
            else:
                busy.add(slot)

    def _prefill(self) -> None:
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
        num = self._pace.chunk(
            row.num_left, len(answer.tokens) - answer.num_cached, len(busy) - len(reading), len(busy)
        )
        is_last = num == row.num_left
        with self._failing([row]), self._timed(self._pace.prefilled, num):
            ids = row.tokens[row.num_held : row.num_held + num]
            logits = self._decoder.prefill(index, ids, row.num_held, want_logits=is_last)
            row.hold(row.num_held + num)
            self._outbox.append((answer.sink, [answer.progress(row.num_held)]))
            if logits is not None:
                answer.is_decoding = True
                self._take(row, logits)

    def _decode(self) -> None:
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

    def _take(self, row: Row, logits: Floats) -> None:
        """Choose an answer's next token. What goes wrong here is this answer's alone."""
        answer = row.answer
        assert answer is not None  # noqa: S101  it decodes
        with self._failing([row]):
            events = answer.take(logits, self._decoder.num_ctx)
            self._outbox.append((answer.sink, events))
            if isinstance(events[-1], End):
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
                    self._outbox.append((row.answer.sink, [Failed(failure)]))
                    self._rows.spoil(row)

    @contextmanager
    def _timed(self, tell: Callable[[int, float], None], number: int) -> Iterator[None]:
        began_s = time.perf_counter()
        yield
        tell(number, time.perf_counter() - began_s)

    def _deliver(self) -> None:
        """Hand over what the step gave, before the next one begins: the loop writes while ONNX Runtime computes."""
        if self._outbox:
            self._loop.call_soon_threadsafe(_hand_over, self._outbox)
            self._outbox = []


def _hand_over(events: Sequence[tuple[Sink, Sequence[Event]]]) -> None:
    for sink, each in events:
        sink(each)
