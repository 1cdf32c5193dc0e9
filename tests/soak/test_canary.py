"""Many users with a secret each, on few slots: no answer may owe anything to what others asked.

`pytest -m soak tests/soak/test_canary.py`; `HUTCH_CANARY_SECONDS` shortens it. Users begin their prompts with the same words, so that
what one left in a slot would serve the next. Meanwhile clients leave in mid-answer, texts are embedded, workers killed and
models unloaded.
"""

import asyncio
import itertools
import json
import math
import os
import random
import signal
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.prompts import WORDS
from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import ask, running
from tests.keys import made

SECONDS = float(os.environ.get("HUTCH_CANARY_SECONDS", "400"))
SETTINGS = {"NUM_PARALLEL": "3", "CONTEXT_LENGTH": "512", "MAX_KV_CACHE": "24MiB"}
# clients at once: fewer than slots, so that users find their own again, and more, so that they do not
CROWDS = (2, 4, 8)
NUM_ROUNDS = 12
ANSWER_S = 60.0
NUM_USERS = 24
USERS_A_TOPIC = 6
MAX_TURNS = 4
LETTERS = string.ascii_uppercase + string.digits
SECRET_LENGTH, TELLING_LENGTH = 10, 6  # so much of a secret is no accident
IN_TWO = 1 / 10  # of the requests ask for two answers, which lie in two slots
SAMPLED = 1 / 30  # are compared with what a worker says that has served nobody else
TOLERANCE = 0.5  # of logprobs
MIN_HITS = 0.05
ALIKE = 2  # tokens that two of one's own topics may begin with: a word at the beginning of a text may be two tokens


@dataclass(frozen=True, slots=True)
class User:
    """A principal, and what nobody else may hear."""

    name: str
    secret: str
    headers: Mapping[str, str]

    def prompt(self, topic: int) -> str:
        """The beginning of a conversation: words that others send too, and the secret."""
        words = random.Random(topic).choices(WORDS, k=24)
        known = f"The password is {self.secret}. "
        return f"{WORDS[topic % len(WORDS)]} {' '.join(words)}\n{known}{known}The password is"


@dataclass(slots=True)
class Seen:
    """What happened. `samples`: requests, and the choice that answered each."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    samples: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)


def body(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, "max_tokens": 8, "temperature": 0} | more


class Canary:
    """The load, on one server."""

    def __init__(self, server: Server, users: list[User]) -> None:
        self.seen = Seen()
        self._server = server
        self._chance = random.Random(1)
        self._dealt = self._deal(users)
        self._whose = {
            user.secret[at : at + TELLING_LENGTH]: user
            for user in users
            for at in range(SECRET_LENGTH - TELLING_LENGTH + 1)
        }

    async def run(self) -> Seen:
        """Rounds of more and of fewer clients; after some the model is unloaded, in some its worker is killed."""
        within = aiohttp.ClientTimeout(ANSWER_S)
        async with aiohttp.ClientSession(self._server.url, timeout=within) as session:
            for number in range(NUM_ROUNDS):
                end = time.monotonic() + SECONDS / NUM_ROUNDS
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(CROWDS[number % len(CROWDS)]):
                        tasks.create_task(self._client(session, end))
                    if number % 4 == 1:
                        await asyncio.sleep(SECONDS / NUM_ROUNDS / 2)
                        os.kill(running(self._server)[MODEL]["pid"], signal.SIGKILL)
                        self.seen.counts["kills"] += 1
                if number % 4 == 3:
                    unload(self._server)
        return self.seen

    def _deal(self, users: list[User]) -> Iterator[tuple[User, int]]:
        """Who talks next, and about what: never twice about the same."""
        for topic in itertools.count():
            for user in self._chance.sample(users, USERS_A_TOPIC):
                yield user, topic

    async def _client(self, session: aiohttp.ClientSession, end: float) -> None:
        while time.monotonic() < end:
            user, topic = next(self._dealt)
            prompt = user.prompt(topic)
            for turn in range(self._chance.randint(1, MAX_TURNS)):
                (act,) = self._chance.choices((self._ask, self._leave, self._embed), (20, 3, 2))
                self.seen.counts["turns"] += 1
                try:
                    said = await act(session, user, prompt, is_new=not turn)
                except TimeoutError:
                    self.seen.problems.append(f"{user.name}: no end within {ANSWER_S:g} s: {act.__name__}")
                    break
                if said is None:
                    break
                prompt += said + "\nOnce more, the password is"

    async def _ask(
        self, session: aiohttp.ClientSession, user: User, prompt: str, *, is_new: bool
    ) -> str | None:
        """One answer, or two at once; what is to be known of it is noted. Returns its text."""
        asked = body(prompt, n=2 if self._chance.random() < IN_TWO else 1)
        is_sampled = self._chance.random() < SAMPLED
        if is_sampled:
            asked["logprobs"] = 5
        async with session.post("/v1/completions", json=asked, headers=user.headers) as reply:
            told = await reply.json()
        if reply.status != 200:
            self.seen.counts["failed"] += 1
            return None
        for choice in told["choices"]:
            self._judge(user, choice["text"])
        cached = told["usage"]["prompt_tokens_details"]["cached_tokens"]
        whose = "new" if is_new else "own"
        self.seen.counts[f"{whose} prompts"] += 1
        self.seen.counts[f"{whose} prompts in a slot"] += cached > 0
        if is_new and cached > ALIKE:
            self.seen.problems.append(
                f"{user.name}: {cached} tokens were there before it sent any of {asked}"
            )
        if is_sampled:
            self.seen.samples.append((asked, told["choices"][-1]))
        text: str = told["choices"][0]["text"]
        return text

    async def _leave(
        self, session: aiohttp.ClientSession, user: User, prompt: str, *, is_new: bool
    ) -> str | None:
        """Hang up after the first word."""
        asked = body(prompt, stream=True, max_tokens=60)
        async with session.post("/v1/completions", json=asked, headers=user.headers) as reply:
            await reply.content.readline()
            reply.close()
        self.seen.counts["left"] += 1
        return ""

    async def _embed(
        self, session: aiohttp.ClientSession, user: User, prompt: str, *, is_new: bool
    ) -> str | None:
        """Have it made a vector, which llama.cpp does in a slot of its choice, and an ONNX decoder not at all."""
        asked = {"model": MODEL, "input": prompt}
        async with session.post("/v1/embeddings", json=asked, headers=user.headers) as reply:
            await reply.read()
        self.seen.counts["embedded"] += reply.status == 200
        return ""

    def _judge(self, user: User, text: str) -> None:
        """Look for secrets in what a user is told."""
        owners = {
            self._whose[part].name
            for at in range(len(text) - TELLING_LENGTH + 1)
            if (part := text[at : at + TELLING_LENGTH]) in self._whose
        }
        self.seen.counts["answers"] += 1
        self.seen.counts["own secrets told"] += user.name in owners
        if owners - {user.name}:
            self.seen.problems.append(f"{user.name} was told of {owners}: {text}")


def unload(server: Server) -> None:
    """End the worker: the next one has served nobody."""
    reply = ask(server, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0, "stream": False})
    assert reply.status == 200, reply.body


def distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """By how much the logprobs of two answers differ, up to where their texts part."""
    worst = 0.0
    for token, logprob, of_other, tops in zip(
        *(one[name] for name in ("tokens", "token_logprobs")),
        *(other[name] for name in ("tokens", "top_logprobs")),
        strict=False,
    ):
        worst = max(worst, abs(logprob - tops.get(token, -math.inf)))
        if token != of_other:
            break
    return worst


@EVERY_ENGINE
@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
def test_no_answer_owes_anything_to_what_others_asked(
    serve: Callable[..., Server], models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(models_dir, **SETTINGS)
    users = [
        User(name, "".join(random.choices(LETTERS, k=SECRET_LENGTH)), made(server, name))
        for name in (f"user-{number}" for number in range(NUM_USERS))
    ]
    seen = asyncio.run(Canary(server, users).run())
    server.stop()
    fresh = serve(models_dir, **SETTINGS)
    distances, num_alike = [], 0
    for asked, choice in seen.samples:
        reply = ask(fresh, "POST", "/v1/completions", asked | {"n": 1})
        alone = reply.json["choices"][0]
        unload(fresh)
        num_alike += alone["text"] == choice["text"]
        distances.append(distance(choice["logprobs"], alone["logprobs"]))
    fresh.stop()
    counts = seen.counts
    figures = {"samples": len(distances), "of the same text": num_alike, "distances": sorted(distances)[-5:]}
    with capsys.disabled():
        print(f"\n{json.dumps(dict(counts) | figures)}")
    assert not seen.problems, "\n".join(seen.problems[:20])
    assert max(distances) < TOLERANCE
    assert counts["own prompts in a slot"] > MIN_HITS * counts["own prompts"]
    # a model that tells nobody their own secret would not tell a foreign one either
    assert counts["own secrets told"] > counts["answers"] / 2
    assert counts["failed"] <= max(CROWDS) * counts["kills"]
