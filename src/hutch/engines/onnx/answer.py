"""One answer while it is written: logits in, events out. Knows nothing of rows, threads or HTTP."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hutch.core.errors import HutchError
from hutch.engines.onnx.guesses import Guesses
from hutch.engines.onnx.sampling import Bools, Choice, Floats, Sampler
from hutch.engines.onnx.text import Output

StopType = Literal["eos", "limit", "word"]


@dataclass(frozen=True, slots=True)
class Timings:
    """What an answer took. `num_prompt` counts the tokens that were computed, `num_cached` those that were there."""

    num_cached: int
    num_prompt: int
    prompt_s: float
    num_predicted: int
    predicted_s: float
    num_guessed: int = 0  # tokens that were guessed, and how many of them came true
    num_true: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """So much of the prompt has been read; `num_cached` of it was there already."""

    num_total: int
    num_cached: int
    num_processed: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A token, and what the text grows by: often that token's, but characters are whole and stops are held back.

    `written` are the bytes that the token itself adds to the answer: none where it is special.
    """

    text: str
    choice: Choice
    written: bytes = b""


@dataclass(frozen=True, slots=True)
class End:
    """The answer is whole. `text` was held back until now; `is_truncated`: the context was full."""

    text: str
    stop_type: StopType
    stopping_word: str
    is_truncated: bool
    timings: Timings


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer ends here, and this is why."""

    error: HutchError


Event = Progress | Piece | End | Failed
Sink = Callable[[Sequence[Event]], None]


class Constraint(Protocol):
    """What an answer is held to, token by token."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""

    def mask(self) -> Bools:
        """Which tokens may come next: [vocab]."""

    def accept(self, token: int) -> None:
        """Go on from a token."""


@dataclass(frozen=True, slots=True)
class Order:
    """A request, ready to be computed. `prompt` is never empty.

    `slot`: where its prefix may be cached, -1: anywhere, and then nothing is reused. `reuse`: the slot's tokens are of the
    same principal. `num_predict`: at most so many tokens, -1: until the context is full. `behind`: an order of the same prompt,
    which is read for both of them. `prepare`: has a row ready for a prompt with images. Such a prompt is read in one step, and
    nothing of it is reused, because the tokens of an image do not tell which one it is.
    """

    prompt: Sequence[int]
    sampler: Sampler
    output: Output
    eos: frozenset[int]
    num_predict: int = -1
    slot: int = -1
    reuse: bool = False
    constraint: Constraint | None = None
    behind: "Order | None" = None
    prepare: Callable[[int], None] | None = None


@dataclass(slots=True)
class Answer:
    """The state of an order that is being computed. `tokens` are the prompt's and those that were chosen."""

    order: Order
    sink: Sink
    tokens: list[int] = field(default_factory=list)
    num_cached: int = 0
    num_predicted: int = 0
    guesses: Guesses | None = None
    is_decoding: bool = False
    is_cancelled: bool = False
    began_s: float = 0.0
    first_s: float = 0.0

    def begin(self, num_cached: int) -> list[int]:
        """A row is there, which holds the first tokens of the prompt already. Returns the tokens, which grow."""
        self.began_s = time.perf_counter()
        self.tokens = list(self.order.prompt)
        self.num_cached = num_cached
        return self.tokens

    def progress(self, num_processed: int) -> Progress:
        """How much of the prompt is read."""
        took_s = time.perf_counter() - self.began_s
        return Progress(len(self.order.prompt), self.num_cached, num_processed, took_s)

    def guess(self, num_ctx: int) -> Sequence[int]:
        """The tokens that may come next, where it pays to look several over at once."""
        if self.guesses is None:
            return ()
        num_left = num_ctx - len(self.tokens)
        if self.order.num_predict >= 0:
            num_left = min(num_left, self.order.num_predict - self.num_predicted)
        return self.guesses.next(self.tokens, num_left - 1)

    def take(self, logits: Floats, num_ctx: int) -> list[Event]:
        """Choose the next token. The last event is an `End` where the answer ends with it.

        Raises what the sampler raises.
        """
        if not self.num_predicted:
            self.first_s = time.perf_counter()
        order = self.order
        if order.num_predict == 0:
            return [self._end("limit")]
        mask = order.constraint.mask() if order.constraint else None
        choice = order.sampler.choose(logits, self.tokens, mask)
        self.tokens.append(choice.token)
        self.num_predicted += 1
        if choice.token in order.eos:
            return [Piece("", choice), self._end("eos")]
        if order.constraint:
            order.constraint.accept(choice.token)
        written = order.output.bytes_of(choice.token)
        events: list[Event] = [Piece(order.output.feed(choice.token), choice, written)]
        if order.output.stop:
            events.append(self._end("word"))
        elif order.constraint and order.constraint.is_complete:
            events.append(self._end("eos"))
        elif self.num_predicted == order.num_predict:
            events.append(self._end("limit"))
        elif len(self.tokens) >= num_ctx:
            events.append(self._end("limit", is_truncated=True))
        return events

    def _end(self, stop_type: StopType, *, is_truncated: bool = False) -> End:
        timings = Timings(
            self.num_cached,
            len(self.order.prompt) - self.num_cached,
            self.first_s - self.began_s,
            self.num_predicted,
            time.perf_counter() - self.first_s,
            *((self.guesses.num_made, self.guesses.num_true) if self.guesses else ()),
        )
        output = self.order.output
        return End(output.end(), stop_type, output.stop, is_truncated, timings)
