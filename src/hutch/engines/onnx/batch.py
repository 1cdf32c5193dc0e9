"""The thread that computes: prompts in chunks, and one token for every answer in each step.

Answers come and go between two steps. What a step gave is handed to the event loop once for all of them.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from hutch.engines.onnx.answer import Answer, Event, Order, Sink
from hutch.engines.onnx.guesses import Guesses
from hutch.engines.onnx.rows import Rows
from hutch.engines.onnx.steps import Decoder, Steps

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_PAUSE_S = 0.012  # between two times that tokens are handed over


class Batcher:
    """Computes orders. `num_tokens`: how many the cache may hold, a whole context at least; `max_chunk`: of a prompt, how many are read in one step."""

    def __init__(self, decoder: Decoder, num_tokens: int, max_chunk: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._rows = Rows(decoder, num_tokens)
        self._steps = Steps(decoder, self._rows, max_chunk)
        self._num_guessed = max(0, decoder.num_together - 1)
        self._inbox: queue.SimpleQueue[Answer | Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: list[Answer] = []
        self._is_closed = False
        self._next_s = 0.0
        self._thread = threading.Thread(target=self._work, name="batch", daemon=True)
        self._thread.start()

    def submit(self, order: Order, sink: Sink) -> Callable[[], None]:
        """Have an order computed. Its events come to `sink` on the event loop; what is returned cancels it within one step."""
        guesses = Guesses(self._num_guessed) if self._num_guessed else None
        answer = Answer(order, sink, guesses=guesses)
        self._inbox.put(answer)

        def cancel() -> None:
            answer.is_cancelled = True
            self._inbox.put(None)

        return cancel

    def between_steps(self, work: Callable[[Rows], _T]) -> "asyncio.Future[_T]":
        """Have something done on the thread that computes, with the rows as they are between two steps."""
        future: Future[_T] = Future()

        def do() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(self._rows))
                except Exception as error:  # noqa: BLE001  it is the caller's
                    future.set_exception(error)

        self._inbox.put(do)
        return asyncio.wrap_future(future)

    @property
    def num_written(self) -> dict[int, int]:
        """How many tokens the answer in each busy slot has so far."""
        busy = [(row.slot, row.answer) for _, row in self._rows.busy]
        return {slot: answer.num_predicted for slot, answer in busy if answer is not None}

    @property
    def num_held(self) -> dict[int, int]:
        """How many tokens each slot's row of the cache holds, whether an answer is in it or not."""
        return self._rows.num_held

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
                self._steps.prefill()
                self._deliver()
                self._steps.decode()
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
                come = self._inbox.get(block=is_idle)
            except queue.Empty:
                return
            is_idle = False
            if isinstance(come, Answer):
                self._waiting.append(come)
            elif come is not None:
                come()

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
            if slot in busy or self._reads_for(answer):
                continue
            row = self._rows.admit(answer)
            if row is not None:
                self._waiting.remove(answer)
                self._steps.tell(answer.sink, [answer.progress(row.num_held)])
            elif self._rows.free(slot) is not None:
                return  # it waits for memory: whoever passed it now could make it wait for ever
            else:
                busy.add(slot)

    def _reads_for(self, answer: Answer) -> bool:
        """Whether another order reads the prompt of this one, or is about to."""
        first = answer.order.behind
        if first is None:
            return False
        reading = (row.answer for _, row in self._rows.busy if not row.is_decoding)
        return any(each is not None and each.order is first for each in (*self._waiting, *reading))

    def _deliver(self) -> None:
        """Hand over what the steps gave, before the next one begins: the loop writes while ONNX Runtime computes.

        For the next tokens of an answer that flows it does not do so at every step: writing takes a core from the computing.
        """
        steps = self._steps
        now_s = time.monotonic()
        if steps.outbox and (steps.is_pressing or now_s >= self._next_s):
            self._loop.call_soon_threadsafe(_hand_over, steps.outbox)
            steps.outbox, steps.is_pressing = [], False
            self._next_s = now_s + _PAUSE_S


def _hand_over(events: Sequence[tuple[Sink, Sequence[Event]]]) -> None:
    for sink, each in events:
        sink(each)
