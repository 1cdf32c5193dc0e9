"""What the servers are asked: workloads of chats and of texts, and the figures that are made of the answers."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.fleet import Fleet
from bench.load import Sample, Server, ask_at_once, body, embed
from bench.prompts import Chat, Prompts, says
from bench.servers import Peer

NUM_TEXTS = 64  # in a request for embeddings
NUM_CLIENTS, TEXTS_PER_CLIENT = 8, 125
MIXED = (
    (12, 16),
    (12, 128),
    (30, 128),
    (50, 64),
    (100, 64),
    (200, 32),
    (300, 32),
    (400, 16),
)  # words, tokens
AGENT_STEPS = 6


@dataclass(frozen=True, slots=True)
class Done:
    """What a turn gave: figures by name, and what the answers were. `num_short` ended before they were asked to."""

    values: Mapping[str, float | None]
    samples: Sequence[Sample] = ()
    num_short: int = 0
    error: str = ""

    @property
    def errors(self) -> list[str]:
        """What was not answered, and why."""
        return [error for error in (self.error, *(sample.error for sample in self.samples)) if error]


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of each server in a turn, and how many turns a round has."""

    name: str
    figures: tuple[tuple[str, str], ...]  # names and units
    run: Callable[[Fleet, Peer, Prompts], Awaitable[Done]]
    turns: int = 1
    needs: str = "chat"  # chat, texts, or process: servers of its own
    is_once: bool = False  # one turn in a whole run, since it takes long


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a workload, made of the samples of one turn; None where they cannot tell."""

    name: str
    unit: str
    of: Callable[[Sequence[Sample]], float | None]


class Asker:
    """Asks one server in one turn, and counts the answers that were shorter than they should be."""

    def __init__(self, server: Server, prompts: Prompts, timeout_s: float) -> None:
        self.prompts = prompts
        self.num_short = 0
        self._server = server
        self._timeout_s = timeout_s

    async def at_once(self, *asked: tuple[Chat, int]) -> list[Sample]:
        """Send these chats together, each with how many tokens it may have."""
        bodies = [body(self._server, chat, max_tokens) for chat, max_tokens in asked]
        samples = await ask_at_once(self._server, bodies, self._timeout_s)
        wanted = [max_tokens for _, max_tokens in asked]
        self.num_short += sum(
            sample.tokens < number for sample, number in zip(samples, wanted, strict=True) if not sample.error
        )
        return samples

    async def alone(self, chat: Chat, max_tokens: int) -> Sample:
        """Send one chat."""
        return (await self.at_once((chat, max_tokens)))[0]


Script = Callable[[Asker], Awaitable[Sequence[Sample]]]


def chats(name: str, script: Script, metrics: Sequence[Metric], turns: int = 1) -> Workload:
    """A workload of chats with a server that runs."""

    async def run(fleet: Fleet, peer: Peer, prompts: Prompts) -> Done:
        asker = Asker(fleet.server(peer), prompts, fleet.timeout_s)
        samples = await script(asker)
        failed = any(sample.error for sample in samples)
        values = {metric.name: None if failed else metric.of(samples) for metric in metrics}
        return Done(values, samples, asker.num_short)

    return Workload(name, tuple((metric.name, metric.unit) for metric in metrics), run, turns)


def together(number: int, num_words: int, max_tokens: int) -> Script:
    """So many chats of random words at the same time."""

    async def ask(asker: Asker) -> list[Sample]:
        return await asker.at_once(*((asker.prompts.new(num_words), max_tokens) for _ in range(number)))

    return ask


def at_once(number: int, turns: int = 1) -> Workload:
    """So many short chats at the same time."""
    return chats(f"{number} at once", together(number, 12, 64), (TOTAL, SLOWEST), turns)


async def after_prefix(asker: Asker) -> list[Sample]:
    """Two chats with one beginning; the first is not counted, unless it fails."""
    shared = says("system", asker.prompts.words(900))
    first, second = [await asker.alone([*shared, *says("user", asker.prompts.words(8))], 2) for _ in range(2)]
    return [first] if first.error else [second]


async def agent_loop(asker: Asker) -> list[Sample]:
    """A conversation to which each step adds the answer and what a tool said to it."""
    chat = says("system", f"You are an agent with tools. {asker.prompts.words(300)}")
    samples: list[Sample] = []
    for _ in range(AGENT_STEPS):
        chat += says("user", f"The tool says: {asker.prompts.words(60)}. What next?")
        samples.append(await asker.alone(chat, 24))
        if samples[-1].error:
            break
        chat += says("assistant", samples[-1].text)
    return samples


async def code_edit(asker: Asker) -> list[Sample]:
    """A program that is to come back with one name changed."""
    program, name = asker.prompts.program(16)
    asked = f"```python\n{program}\n```\nRename `{name}` to `first`. Print the whole program again, and nothing else."
    return [await asker.alone(says("user", asked), 200)]


async def rag_quote(asker: Asker) -> list[Sample]:
    """Passages of which one is to be quoted."""
    passages = [f"Passage {number}: {asker.prompts.words(80)}." for number in range(1, 5)]
    asked = "\n".join([*passages, "Quote passage 1 word by word, and nothing else."])
    return [await asker.alone(says("user", asked), 80)]


async def mixed_sizes(asker: Asker) -> list[Sample]:
    """Short and long prompts with short and long answers, at the same time."""
    return await asker.at_once(*((asker.prompts.new(words), tokens) for words, tokens in MIXED))


async def one_batch(fleet: Fleet, peer: Peer, prompts: Prompts) -> Done:
    """Texts to embed in one request."""
    texts = [prompts.words(8) for _ in range(NUM_TEXTS)]
    return _texts_done([await embed(fleet.server(peer, embeds=True), texts, fleet.timeout_s)])


async def many_clients(fleet: Fleet, peer: Peer, prompts: Prompts) -> Done:
    """Clients that each send text after text to be embedded."""
    server = fleet.server(peer, embeds=True)

    async def client() -> list[Sample]:
        samples: list[Sample] = []
        while len(samples) < TEXTS_PER_CLIENT and not (samples and samples[-1].error):
            samples.append(await embed(server, [prompts.words(8)], fleet.timeout_s))
        return samples

    asked = await asyncio.gather(*(client() for _ in range(NUM_CLIENTS)))
    return _texts_done([sample for samples in asked for sample in samples])


def _texts_done(samples: Sequence[Sample]) -> Done:
    failed = any(sample.error for sample in samples)
    return Done({"texts": None if failed else total_tok_s(samples)}, samples)


def first_token_ms(samples: Sequence[Sample]) -> float | None:
    """The slowest first token of the turn."""
    waits = [sample.first_s - sample.started_s for sample in samples if sample.first_s is not None]
    return max(waits) * 1000 if len(waits) == len(samples) else None


def later_first_token_ms(samples: Sequence[Sample]) -> float | None:
    """The first token of each answer but the first: the median."""
    waits = [sample.first_s - sample.started_s for sample in samples[1:] if sample.first_s is not None]
    return statistics.median(waits) * 1000 if waits else None


def decode_tok_s(samples: Sequence[Sample]) -> float | None:
    """Tokens after the first, by the time between the first and the last."""
    sample = samples[0]
    if sample.first_s is None or sample.last_s is None or sample.last_s <= sample.first_s:
        return None
    return (sample.tokens - 1) / (sample.last_s - sample.first_s)


def prefill_tok_s(samples: Sequence[Sample]) -> float | None:
    """Prompt tokens by the time to the first token."""
    sample = samples[0]
    if sample.first_s is None or not sample.prompt_tokens:
        return None
    return sample.prompt_tokens / (sample.first_s - sample.started_s)


def total_tok_s(samples: Sequence[Sample]) -> float | None:
    """All tokens of the turn, by the time from its first request to its last answer."""
    took_s = whole_s(samples)
    return sum(sample.tokens for sample in samples) / took_s if took_s > 0 else None


def whole_s(samples: Sequence[Sample]) -> float:
    """The time from the first request to the last answer."""
    return max(sample.ended_s for sample in samples) - min(sample.started_s for sample in samples)


FIRST, DECODE = Metric("first token", "ms", first_token_ms), Metric("decode", "tok/s", decode_tok_s)
TOTAL, SLOWEST = Metric("total", "tok/s", total_tok_s), Metric("slowest first token", "ms", first_token_ms)
LOOP = (Metric("first token, later steps", "ms", later_first_token_ms), Metric("whole loop", "s", whole_s))
TEXTS = (("texts", "texts/s"),)

WORKLOADS = (
    chats("short chat", together(1, 12, 4), (FIRST,), turns=8),
    chats("one stream", together(1, 12, 128), (DECODE,), turns=2),
    chats("long prompt", together(1, 400, 2), (Metric("prefill", "tok/s", prefill_tok_s),), turns=2),
    chats("shared prefix", after_prefix, (FIRST,), turns=2),
    chats("agent loop", agent_loop, LOOP),
    chats("code edit", code_edit, (DECODE,), turns=2),
    chats("rag quote", rag_quote, (DECODE,), turns=2),
    at_once(1, turns=2),
    *map(at_once, (4, 8, 16, 32)),
    chats("8 passages at once", together(8, 170, 64), (TOTAL, SLOWEST)),
    chats("mixed sizes", mixed_sizes, (TOTAL, SLOWEST)),
    Workload("embeddings", TEXTS, one_batch, turns=2, needs="texts"),
    Workload("1,000 texts by 8 clients", TEXTS, many_clients, needs="texts"),
)
