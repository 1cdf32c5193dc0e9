"""What the servers are asked: workloads, their prompts, and the figures that are made of the samples."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.load import Sample

# Each is one token with the space before it (checked with SmolLM2's vocabulary), so that prompts of as many words are
# equally long for the engine.
WORDS = tuple(
    """
    animal answer apple autumn basket battle bottle branch bread bridge brother bucket butter candle
    captain carpet castle cheese chicken church circle city cloud coast coffee color corner cotton
    country cream crown dance desert dinner doctor dollar door dragon dream dress earth engine evening
    fabric family farmer father feather field finger fire fish flame floor flower fog forest friend
    fruit game garden gate giant gift girl glass gold grass green guitar hammer hand harbor hat heart
    hill honey horse hotel house ice insect iron island jacket juice key king kitchen knife ladder lake
    lamp leaf lemon letter light line lion map market metal milk mirror money moon morning mother
    mountain mouse music needle nest newspaper night noise north number nurse ocean office oil onion
    orange paint palace paper park path pearl pencil people pepper piano picture planet plant plate
    pocket poem pond potato prince queen rabbit rain ribbon rice ring river road rocket rose sail salt
    sand school season shadow ship shoe silver sister sky snow soap soil song soup spider spring square
    star steel stone storm story street sugar summer sun sword table tail tea teacher temple tent
    thunder ticket tiger tower town train tree truck tunnel uncle valley village violin voice wall watch
    water wave wheel wind window wine winter wolf wood wool world yard year yellow zone
    """.split()  # noqa: SIM905  a list of 219 words in quotes is no easier to read
)


Chat = list[dict[str, str]]


class Prompts:
    """Chats that no server has seen, so that no cache answers. Their length depends on the number of words alone."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._given: set[str] = set()

    def new(self, num_words: int) -> Chat:
        """Make a chat. The random words come first, else a template's own system text would be a common prefix."""
        while True:
            words = " ".join(self._random.choices(WORDS, k=num_words))
            if words not in self._given:
                break
        self._given.add(words)
        return _chat(words, "Write a very long story in which all of these words occur.")

    def turn(self, workload: "Workload") -> tuple[list[Chat], list[Chat]]:
        """The chats of a turn: those that come first and are not counted, and those that are."""
        if not workload.shared_words:
            return [], [self.new(workload.num_words) for _ in range(workload.at_once)]
        shared = self.new(workload.shared_words)[0]["content"]
        first, *others = (
            [*_chat(shared, "")[:1], {"role": "user", "content": self.new(workload.num_words)[0]["content"]}]
            for _ in range(workload.at_once + 1)
        )
        return [first], others


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a workload, made of the samples of one turn; None where they cannot tell."""

    name: str
    unit: str
    of: Callable[[Sequence[Sample]], float | None]


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked in one turn, and how many turns a round has."""

    name: str
    num_words: int
    max_tokens: int
    metrics: tuple[Metric, ...]
    at_once: int = 1
    turns: int = 1
    shared_words: int = 0  # all chats of a turn begin with these; one that is not counted comes first


def first_token_ms(samples: Sequence[Sample]) -> float | None:
    """The slowest first token of the turn."""
    waits = [sample.first_s - sample.started_s for sample in samples if sample.first_s is not None]
    return max(waits) * 1000 if len(waits) == len(samples) else None


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
    took_s = max(sample.ended_s for sample in samples) - min(sample.started_s for sample in samples)
    return sum(sample.tokens for sample in samples) / took_s if took_s > 0 else None


def at_once(number: int, turns: int, num_words: int = 12) -> Workload:
    """So many requests at the same time."""
    metrics = (Metric("total", "tok/s", total_tok_s), Metric("slowest first token", "ms", first_token_ms))
    return Workload(f"{number} at once", num_words, 64, metrics, at_once=number, turns=turns)


def _chat(words: str, task: str) -> Chat:
    return [{"role": "system", "content": f"Words: {words}"}, {"role": "user", "content": task}]


WORKLOADS = (
    Workload("short chat", 12, 4, (Metric("first token", "ms", first_token_ms),), turns=8),
    Workload("one stream", 12, 128, (Metric("decode", "tok/s", decode_tok_s),), turns=2),
    Workload("long prompt", 400, 2, (Metric("prefill", "tok/s", prefill_tok_s),), turns=2),
    at_once(1, turns=2),
    at_once(4, turns=1),
    at_once(8, turns=1),
)
