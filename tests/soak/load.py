"""The load of the soak: clients, the killer of workers, and the watcher, until the time is over."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

import aiohttp

from bench.serve import Serving
from tests.soak.asking import KINDS, Asker, Kind, Verdict
from tests.soak.watching import Marks, Memory, Process, descendants, process, rss_bytes

NUM_CLIENTS = 8
LOOK_EVERY_S = 1.0
ANSWER_S = 120.0


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed, in seconds of load."""

    at_s: float
    model: str
    pid: int


@dataclass(slots=True)
class Seen:
    """What happened."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    failed_at_s: list[float] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    memory: dict[Process, Memory] = field(default_factory=dict)

    def count(self, kind: Kind, verdict: Verdict, at_s: float) -> None:
        """Note how a request ended."""
        self.outcomes[kind.name, verdict.outcome] += 1
        if verdict.outcome == "broken":
            self.broken.append(f"{at_s:.1f} s, {kind.name}: {verdict.detail}")
        elif verdict.outcome == "failed":
            self.failures[f"{kind.name}: {verdict.detail}"[:200]] += 1
            self.failed_at_s.append(at_s)

    @property
    def totals(self) -> Counter[str]:
        """Requests by outcome."""
        totals: Counter[str] = Counter()
        for (_, outcome), count in self.outcomes.items():
            totals[outcome] += count
        return totals


class Load:
    """One run of the load against one server."""

    def __init__(self, running: Serving, models: tuple[str, ...], marks: Marks) -> None:
        self.seen = Seen()
        self._running = running
        self._models = models
        self._marks = marks
        self._started_s = time.monotonic()

    async def run(self) -> Seen:
        """Ask, kill and watch until the time is over."""
        self._started_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(NUM_CLIENTS):
                tasks.create_task(self._client(number))
            tasks.create_task(self._kill_workers())
            tasks.create_task(self._watch())
        return self.seen

    async def ask_each_kind_once(self) -> None:
        """Let the server open whatever it keeps open, before that is counted."""
        asker = Asker(0, self._models)
        async with aiohttp.ClientSession() as session:
            for kind in KINDS:
                await self._ask(session, kind, asker.body(kind))

    @property
    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _is_over(self) -> bool:
        """Whether the time is over, or the server is gone and nothing more can be learnt."""
        return self._now_s >= self._marks.duration_s or self._running.process.poll() is not None

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        asker = Asker(number + 1, self._models)
        # every other client keeps its connection, as SDKs do; the others open one for each request
        connector = aiohttp.TCPConnector(force_close=bool(number % 2))
        async with aiohttp.ClientSession(connector=connector) as session:
            while not self._is_over():
                (kind,) = chance.choices(KINDS, [kind.weight for kind in KINDS])
                verdict = await self._ask(session, kind, asker.body(kind))
                self.seen.count(kind, verdict, self._now_s)
                if verdict.outcome != "answered":
                    await asyncio.sleep(0.5)  # a client that is refused does not come back at once

    async def _ask(self, session: aiohttp.ClientSession, kind: Kind, body: dict[str, Any] | None) -> Verdict:
        method = "GET" if body is None else "POST"
        status, content = 0, b""
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                session.request(method, self._running.url + kind.path, json=body) as response,
            ):
                status = response.status
                if kind.hangs_up and status == 200:
                    content = await response.content.readany()
                    response.close()
                    return Verdict("left")
                async for chunk in response.content.iter_any():
                    content += chunk
        except TimeoutError:
            return Verdict("broken", f"no end within {ANSWER_S:g} s, status {status}: {content[-200:]!r}")
        except aiohttp.ClientError as error:
            return Verdict("broken", f"{error!r}, status {status}: {content[-200:]!r}")
        return kind.judge(status, content)

    async def _kill_workers(self) -> None:
        """Kill a worker each minute, but not so late that its successor could not be watched."""
        chance = random.Random(0)
        at_s = every_s = self._marks.kill_every_s
        while at_s <= self._marks.duration_s - every_s:
            await asyncio.sleep(max(0.0, at_s - self._now_s))
            ours = set(descendants(self._running.process.pid))
            listed = [line for line in await self._running_models() if line["pid"] in ours]
            if listed:  # none is there while the last one killed has not been replaced
                victim = chance.choice(listed)
                os.kill(victim["pid"], signal.SIGKILL)
                self.seen.kills.append(Kill(self._now_s, victim["name"], victim["pid"]))
            at_s += every_s

    async def _watch(self) -> None:
        server = self._running.process.pid
        roles = {server: "server"}
        while not self._is_over():
            for pid in (server, *descendants(server)):
                known, size_bytes = process(pid), rss_bytes(pid)
                if known is None or not size_bytes:  # gone meanwhile, or a zombie
                    continue
                if pid not in roles:
                    roles |= {line["pid"]: line["name"] for line in await self._running_models()}
                memory = self.seen.memory.setdefault(known, Memory("helper"))
                memory.role = roles.get(pid, memory.role)
                memory.samples.append((self._now_s, size_bytes))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _running_models(self) -> list[dict[str, Any]]:
        try:
            models: list[dict[str, Any]] = (await asyncio.to_thread(self._running.call, "/api/ps"))["models"]
        except (OSError, HTTPException, RuntimeError, ValueError, KeyError) as error:
            self.seen.broken.append(f"{self._now_s:.1f} s, ps: {error!r}")
            return []
        return models
