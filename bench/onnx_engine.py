"""The batch of the ONNX engine by itself, without HTTP: `python -m bench.onnx_engine FOLDER [--threads 2]`.

How late a short request joins a running batch, and what a long prompt does to the time between two tokens of the others.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime as ort

from bench.prompts import WORDS
from hutch.engines.onnx.answer import End, Event, Failed, Order, Piece
from hutch.engines.onnx.batch import Batcher
from hutch.engines.onnx.sampling import Sampler, SamplingParams
from hutch.engines.onnx.session import Decoder
from hutch.engines.onnx.text import Output, Tokens
from hutch.formats import genai_config

NUM_RUNNING = 7


@dataclass
class Stream:
    """When the tokens of an answer came."""

    times_s: list[float] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, events: Sequence[Event]) -> None:
        """The sink of the batch."""
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Piece):
                self.times_s.append(time.perf_counter())
        if isinstance(events[-1], End):
            self.done.set()

    def gaps_s(self, begin_s: float, end_s: float) -> list[float]:
        """The times between two tokens within this time."""
        pairs = zip(self.times_s, self.times_s[1:], strict=False)
        return [later - earlier for earlier, later in pairs if begin_s <= earlier and later <= end_s]


@dataclass(frozen=True)
class Engine:
    """A batch with eight rows, and what it takes to ask it."""

    batch: Batcher
    tokens: Tokens
    vocab_size: int

    def ask(self, num_words: int, num_new: int, slot: int) -> Stream:
        """An answer of exactly so many tokens to random words."""
        prompt = self.tokens.encode(" ".join(random.choices(WORDS, k=num_words)))[:num_words]
        stream = Stream()
        sampler = Sampler(SamplingParams(temperature=0), self.vocab_size)
        order = Order(prompt, sampler, Output(self.tokens), frozenset(), num_new, slot)
        self.batch.submit(order, stream.hear)
        return stream


async def _running(engine: Engine) -> list[Stream]:
    """Seven answers in full swing."""
    streams = [engine.ask(32, 400, slot) for slot in range(NUM_RUNNING)]
    while min(len(stream.times_s) for stream in streams) < 20:  # noqa: ASYNC110  the sinks only count
        await asyncio.sleep(0.01)
    return streams


async def late(engine: Engine) -> None:
    """A request of 16 tokens, while seven answers are being written."""
    streams = await _running(engine)
    asked_s = time.perf_counter()
    request = engine.ask(16, 8, NUM_RUNNING)
    await request.done.wait()
    joined_s = request.times_s[1]
    between = [at_s for at_s in streams[0].times_s if request.times_s[0] < at_s <= joined_s]
    first_ms = (request.times_s[0] - asked_s) * 1000
    print(f"late request: first token after {first_ms:.0f} ms, the second one {len(between)} steps later")
    await asyncio.gather(*(stream.done.wait() for stream in streams))


async def long(engine: Engine) -> None:
    """A prompt of 3,900 tokens, while seven answers are being written."""
    streams = await _running(engine)
    before_s = time.perf_counter()
    usual_s = statistics.median(streams[0].gaps_s(0, before_s))
    request = engine.ask(3900, 1, NUM_RUNNING)
    await asyncio.wait(
        (asyncio.ensure_future(request.done.wait()), asyncio.ensure_future(streams[0].done.wait())),
        return_when="FIRST_COMPLETED",
    )
    gaps_s = sorted(streams[0].gaps_s(before_s, time.perf_counter()))
    slow_s, slowest_s = statistics.median(gaps_s), gaps_s[int(len(gaps_s) * 0.95)]
    print(
        f"long prompt: {usual_s * 1000:.1f} ms between two tokens without it, with it {slow_s * 1000:.1f} "
        f"({slow_s / usual_s:.2f} times), 95 of 100 within {slowest_s * 1000:.1f} ({slowest_s / usual_s:.2f} times)"
    )
    await asyncio.gather(request.done.wait(), *(stream.done.wait() for stream in streams))


async def _measure(folder: Path, num_threads: int) -> None:
    config = genai_config.read(folder / genai_config.NAME)
    if config.decoder is None:
        raise SystemExit("the folder has no decoder")
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    session = ort.InferenceSession(
        str(folder / config.decoder.filename), options, providers=["CPUExecutionProvider"]
    )
    decoder = Decoder(session, config.decoder, NUM_RUNNING + 1, 4096)
    engine = Engine(
        Batcher(decoder, 8 * 4096, 512),
        Tokens(folder / "tokenizer.json", config.eos_token_ids),
        decoder.vocab_size,
    )
    await late(engine)
    await long(engine)
    engine.batch.close()


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(prog="python -m bench.onnx_engine", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    asyncio.run(_measure(arguments.folder, arguments.threads))


if __name__ == "__main__":
    main()
