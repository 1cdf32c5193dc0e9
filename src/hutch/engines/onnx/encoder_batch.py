"""The line of texts before an encoder: what several requests ask for at the same time is computed together.

One thread runs the encoder, a step at a time. Requests take turns in leading a step, so that a short one does not wait for a
long one; one that is given up is gone after the step that runs.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hutch.core.errors import Busy, EngineFailed, HutchError
from hutch.engines.onnx import buckets
from hutch.engines.onnx.buckets import Waiting
from hutch.engines.onnx.encoder import Text
from hutch.formats.ggml_numbers import Floats

MAX_WAITING_TOKENS = 8 << 20  # of all requests; as lists they take eight bytes each
_log = logging.getLogger(__name__)


class Runner(Protocol):
    """What the line needs of an encoder."""

    @property
    def width(self) -> int:
        """How many numbers a text gets."""

    def run(self, texts: Sequence[Text]) -> Floats:
        """A row for each text. Raises EngineFailed."""


@dataclass(slots=True, eq=False)
class _Request:
    texts: Sequence[Text]
    waiting: Waiting
    rows: Floats
    num_left: int
    done: "asyncio.Future[None]"

    def end(self, error: HutchError | None) -> None:
        """Tell who waits, from the encoder's thread."""
        loop = self.done.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: HutchError | None) -> None:
        if self.done.done():  # given up in the meantime
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class EncoderBatch:
    """The texts that wait, and the thread that works them off."""

    def __init__(self, encoder: Runner, max_waiting_tokens: int = MAX_WAITING_TOKENS) -> None:
        self._encoder = encoder
        self._max_waiting_tokens = max_waiting_tokens
        self._news = threading.Condition()
        self._requests: list[_Request] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    @property
    def num_requests(self) -> int:
        """How many requests are not done."""
        return len(self._requests)

    async def run(self, texts: Sequence[Text]) -> Floats:
        """One row for each text. Cancelling it frees the encoder. Raises Busy or EngineFailed."""
        rows = np.empty((len(texts), self._encoder.width), np.float32)
        if not texts:
            return rows
        waiting = Waiting.of([len(text.ids) for text in texts])
        done = asyncio.get_running_loop().create_future()
        request = _Request(texts, waiting, rows, len(texts), done)
        with self._news:
            self._let_in(request)
        try:
            await done
        finally:
            with self._news:
                self._drop(request)
        return rows

    def close(self) -> None:
        """Let the thread end; whoever still waits is told."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        self._thread.join()

    def _let_in(self, request: _Request) -> None:
        if self._is_closed:
            raise EngineFailed("the model is being unloaded", hint="Send the request again.")
        num_tokens = sum(sum(each.waiting.lengths) for each in (*self._requests, request))
        if self._requests and num_tokens > self._max_waiting_tokens:
            raise Busy(
                "too many texts wait for this model", hint="Send it again later, or fewer texts at once."
            )
        self._requests.append(request)
        self._news.notify()

    def _drop(self, request: _Request) -> None:
        if request in self._requests:
            self._requests.remove(request)

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._is_closed or self._has_texts())
                if self._is_closed:
                    for request in self._requests:
                        request.end(EngineFailed("the model was unloaded", hint="Send the request again."))
                    return
                step = self._next_step()
            self._run(step)

    def _has_texts(self) -> bool:
        return any(request.waiting for request in self._requests)

    def _next_step(self) -> list[tuple[_Request, int]]:
        """Take the next texts out, and put who led behind the others."""
        requests = [request for request in self._requests if request.waiting]
        step = [
            (requests[number], index) for number, index in buckets.step([each.waiting for each in requests])
        ]
        self._requests.remove(requests[0])
        self._requests.append(requests[0])
        return step

    def _run(self, step: Sequence[tuple[_Request, int]]) -> None:
        asking = {id(request): request for request, _ in step}
        try:
            rows = self._encoder.run([request.texts[index] for request, index in step])
        except HutchError as error:
            failure = error
        except Exception:  # noqa: BLE001  # the worker's main loop: who waits must not wait for ever
            _log.exception("a step of the encoder failed")
            failure = EngineFailed("the encoder failed", hint="See `hutch logs MODEL`.")
        else:
            for (request, index), row in zip(step, rows, strict=True):
                request.rows[index] = row
                request.num_left -= 1
            for request in asking.values():
                if not request.num_left:
                    request.end(None)
            return
        for request in asking.values():
            request.end(failure)
