"""A batch on a decoder whose answers are known in advance, and what its requests were told."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hutch.engines.onnx.answer import End, Event, Failed, Order, Piece
from hutch.engines.onnx.batch import Batcher
from hutch.engines.onnx.sampling import Floats, Sampler, SamplingParams
from hutch.engines.onnx.text import Output, Tokens

VOCAB = 1000
EOS = 999


class Letters:
    """Tokens as text: each is its number in brackets."""

    special: frozenset[int] = frozenset()

    def bytes_of(self, token: int) -> bytes:
        """Its text."""
        return f"[{token}]".encode()

    def id_of(self, piece: str) -> int | None:
        """No text is a token."""


class Counting:
    """A decoder that says the sum of what a row holds, so that one wrong token in its cache shows in all that follow."""

    min_rows = 1

    def __init__(self, num_rows: int = 4, num_ctx: int = 64, num_together: int = 0) -> None:
        self.num_together = num_together
        self.num_rows, self.num_ctx = num_rows, num_ctx
        self.held = np.full((num_rows, num_ctx), -(10**6), np.int64)  # a canary: no token
        self.calls: list[tuple[str, int, int]] = []  # what, first row, how many tokens or rows
        self.freed: list[int] = []
        self.gate = threading.Semaphore(10**6)  # each step takes one
        self.breaks: Callable[[str, int], bool] = lambda _what, _row: False

    def prefill(self, row: int, ids: Sequence[int], start: int, *, want_logits: bool = True) -> Floats | None:
        """Put tokens into a row."""
        self._step("prefill", row, len(ids))
        self.held[row, start : start + len(ids)] = ids
        return self._logits(row, start + len(ids)) if want_logits else None

    def read(self, row: int, ids: Sequence[int], start: int) -> Floats:
        """Put tokens into a row; the logits after each."""
        assert len(ids) <= self.num_together
        self._step("read", row, len(ids))
        self.held[row, start : start + len(ids)] = ids
        return np.stack([self._logits(row, start + num) for num in range(1, len(ids) + 1)])

    def decode(self, first: int, ids: Sequence[int], starts: Sequence[int]) -> Floats:
        """Put a token into each row."""
        self._step("decode", first, len(ids))
        for index, (token, start) in enumerate(zip(ids, starts, strict=True)):
            self.held[first + index, start] = token
        return np.stack([self._logits(first + i, start + 1) for i, start in enumerate(starts)])

    def swap(self, row: int, other: int, num_tokens: int) -> None:
        """Exchange two rows."""
        self.calls.append(("swap", row, other))
        self.held[[row, other], :num_tokens] = self.held[[other, row], :num_tokens]

    def copy(self, row: int, other: int, num_tokens: int) -> bool:
        """Put a row's tokens into another."""
        self.calls.append(("copy", row, num_tokens))
        self.held[other, :num_tokens] = self.held[row, :num_tokens]
        return True

    def views(self, row: int, num_tokens: int) -> Sequence[NDArray[Any]]:
        """One head of one number: the token itself."""
        return [self.held[row, :num_tokens].reshape(1, num_tokens, 1)]

    def free(self, row: int) -> None:
        """Forget a row."""
        self.freed.append(row)
        self.held[row] = -(10**6)

    def _step(self, what: str, row: int, number: int) -> None:
        self.gate.acquire()
        self.calls.append((what, row, number))
        if self.breaks(what, row):
            raise RuntimeError("broken")

    def _logits(self, row: int, length: int) -> Floats:
        logits = np.zeros(VOCAB, np.float32)
        logits[self.says(self.held[row, :length].tolist())] = 1
        return logits

    def says(self, tokens: Sequence[int]) -> int:
        """The next token."""
        return expected(tokens)


def expected(tokens: Sequence[int]) -> int:
    """What `Counting` says next after these tokens."""
    total = sum(tokens) * 31 + len(tokens)
    return total % (VOCAB - 1)  # never the end


def continuation(prompt: Sequence[int], number: int) -> list[int]:
    """The tokens that must follow a prompt."""
    tokens = list(prompt)
    for _ in range(number):
        tokens.append(expected(tokens))
    return tokens[len(prompt) :]


@dataclass
class Told:
    """What a request was told, and how to leave it."""

    events: list[Event] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    cancel: Callable[[], None] = lambda: None
    order: Order | None = None

    @property
    def tokens(self) -> list[int]:
        """The answer."""
        return [event.choice.token for event in self.events if isinstance(event, Piece)]

    @property
    def end(self) -> End:
        """How it ended; it must have ended well."""
        last = self.events[-1]
        assert isinstance(last, End), last
        return last

    @property
    def failure(self) -> Failed:
        """Why it failed; it must have."""
        last = self.events[-1]
        assert isinstance(last, Failed), last
        return last

    def hear(self, events: Sequence[Event]) -> None:
        """The sink."""
        assert not self.done.is_set(), "nothing may follow the end"
        self.events += events
        if isinstance(events[-1], End | Failed):
            self.done.set()


class Asker:
    """Submits orders to one batch."""

    def __init__(self, batch: Batcher, vocab_size: int, eos: Collection[int]) -> None:
        self.batch = batch
        self._vocab_size = vocab_size
        self._eos = frozenset(eos)

    def ask(self, prompt: Sequence[int], number: int = 5, **order: Any) -> Told:
        """One request."""
        told = Told()
        stops = order.pop("stops", ())
        output = Output(cast("Tokens", Letters()), stops)
        sampler = order.pop("sampler", None) or Sampler(SamplingParams(temperature=0), self._vocab_size)
        told.order = Order(prompt, sampler, output, self._eos, number, **order)
        told.cancel = self.batch.submit(told.order, told.hear)
        return told


@asynccontextmanager
async def batch(
    decoder: Any,
    num_tokens: int = 10**6,
    max_chunk: int = 16,
    vocab_size: int = VOCAB,
    eos: Collection[int] = (EOS,),
) -> AsyncIterator[Asker]:
    """A batch that ends with the test."""
    asker = Asker(Batcher(decoder, num_tokens, max_chunk), vocab_size, eos)
    try:
        yield asker
    finally:
        if isinstance(decoder, Counting):
            decoder.gate.release(10**6)
        asker.batch.close()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; one that hangs fails."""
    asyncio.run(asyncio.wait_for(scenario, 20))
