"""How fast a model is on this machine, as it is served: loaded by this machine's backend, asked in its own process.

The requests are greedy, their prompts all different, and none may use what another one left behind.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from hutch import config
from hutch.core.access import Principal
from hutch.core.backend import Backend
from hutch.core.chat import GenerateRequest, LoadOptions, Sampling, Usage
from hutch.core.errors import EngineFailed
from hutch.core.names import ModelName
from hutch.optimize import texts
from hutch.runtime.backend import LocalBackend
from hutch.runtime.meaning import NO_MODEL, Meaning
from hutch.runtime.scheduler import Scheduler
from hutch.runtime.worker import SocketFolder
from hutch.store.store import ModelStore

METHOD = 2  # figures of another one are not compared with these
_SETTINGS = {
    *("num_thread", "num_gpu", "hardware", "onnx_runner", "flash_attention", "kv_cache_type", "llama_server")
}
_ROUNDS = 4
_AT_ONCE = 8
_NUM_CTX = 2048
_ALONE_CHARS, _TOGETHER_CHARS = 1_800, 860  # about 420 and 200 tokens of English
_ALONE_TOKENS, _TOGETHER_TOKENS = 96, 64


@dataclass(frozen=True, slots=True)
class Speed:
    """The best of some rounds: what else runs on the machine can only slow one down. `total_tps`: new tokens a second of eight requests at once, their prompts included."""

    first_token_s: float  # of a prompt of about 420 tokens
    decode_tps: float  # one stream
    total_tps: float
    memory_bytes: int

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Speed":
        """Read what was kept."""
        return cls(
            float(found["first_token_s"]),
            float(found["decode_tps"]),
            float(found["total_tps"]),
            int(found["memory_bytes"]),
        )

    @property
    def score(self) -> float:
        """One number to choose by: the geometric mean of both rates, so that neither use is sold for the other."""
        return math.sqrt(self.decode_tps * self.total_tps)


@dataclass(frozen=True, slots=True)
class _Answer:
    first_s: float
    usage: Usage


def settings_facts() -> Mapping[str, Any]:
    """The settings that a speed depends on, as plain values."""
    return config.load().model_dump(mode="json", include=_SETTINGS)


def measure(store: ModelStore, name: ModelName) -> Speed:
    """Load a model, time it, and let it go."""
    return asyncio.run(_measured(store, name))


async def _measured(store: ModelStore, name: ModelName) -> Speed:
    settings = config.load().model_copy(update={"num_parallel": _AT_ONCE, "context_length": _NUM_CTX})
    sockets = SocketFolder()
    scheduler = Scheduler(store, settings, sockets)
    backend = LocalBackend(scheduler, Meaning(store, NO_MODEL), settings.load_timeout)
    try:
        await backend.load(name, LoadOptions(), None)
        await _ask(backend, name, "Once upon a time", 8)  # warm
        alone: list[_Answer] = []
        rates: list[float] = []
        for index in range(_ROUNDS):
            alone.append(await _ask(backend, name, _prompt(index, _ALONE_CHARS), _ALONE_TOKENS))
            rates.append(await _rate(backend, name, _ROUNDS + index * _AT_ONCE))
        memory_bytes = sum(each.memory_bytes for each in backend.running())
    finally:
        await backend.close()
        sockets.close()
    return Speed(
        min(each.first_s for each in alone),
        max((each.usage.completion_tokens - 1) / each.usage.decode_s for each in alone),
        max(rates),
        memory_bytes,
    )


async def _rate(backend: Backend, name: ModelName, first: int) -> float:
    began = time.perf_counter()
    answers = await asyncio.gather(
        *(
            _ask(backend, name, _prompt(first + index, _TOGETHER_CHARS), _TOGETHER_TOKENS)
            for index in range(_AT_ONCE)
        )
    )
    return sum(each.usage.completion_tokens for each in answers) / (time.perf_counter() - began)


async def _ask(backend: Backend, name: ModelName, prompt: str, max_tokens: int) -> _Answer:
    request = GenerateRequest(name, prompt=prompt, sampling=Sampling(temperature=0.0, max_tokens=max_tokens))
    who = Principal(f"optimize-{time.perf_counter_ns()}")  # a principal of its own: no prefix is used again
    began = time.perf_counter()
    first_s, usage = 0.0, None
    async with aclosing(backend.generate(request, who)) as chunks:
        async for chunk in chunks:
            first_s = first_s or time.perf_counter() - began
            usage = chunk.usage or usage
    if usage is None or usage.completion_tokens < 2 or not usage.decode_s:
        raise EngineFailed("the model wrote nothing that could be timed", hint="Ask it with `hutch run`.")
    return _Answer(first_s, usage)


def _prompt(index: int, length: int) -> str:
    """A text that no other index gives."""
    whole = _prose()
    begin = index * 997 % len(whole)
    turned = whole[begin:] + whole[:begin]
    return f"{index}. {turned[:length]}"


def _prose() -> str:
    passages: Sequence[str] = texts.built_in()
    return "\n\n".join(passages)
