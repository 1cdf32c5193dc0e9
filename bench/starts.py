"""Workloads that start servers of their own: a cold start, a turn after a restart, and thousands of idle streams."""

import asyncio
import os
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.fleet import Fleet, load
from bench.load import PATHS, Sample, Server, ask_at_once, body
from bench.prompts import Chat, Prompts, says
from bench.servers import OF_HUTCH, Peer, hutch_home
from bench.workloads import WORKLOADS, Done, Workload
from hutch.security.keys import KeyFile, new_key

HISTORY_WORDS = 1950  # about 2,000 tokens with the template
SETTLE_S = 2.0  # from the last stream that was opened until they are counted
SPARE_FILES = 200  # of a process, beside its streams
NUM_BESIDE = 3
OPEN_S = 60.0
BESIDE_S = 30.0
_CONNECT_AT_ONCE = 64  # below the backlog of every server


async def cold_start(fleet: Fleet, peer: Peer, prompts: Prompts) -> Done:
    """From the start of a process to its first answer, and to the first token; files are in the system's cache."""
    with fleet.started(peer, fleet.fresh_folder()) as server:
        answers_s = time.perf_counter() - server.began_s
        sample = await _one(server, prompts.new(12), fleet.timeout_s)
    first_ms = None if sample.first_s is None else (sample.first_s - server.began_s) * 1000
    return Done({"first answer": answers_s * 1000, "first token": first_ms}, [sample])


async def second_turn(fleet: Fleet, peer: Peer, prompts: Prompts) -> Done:
    """The next question of a long conversation after a restart: with the model loaded, and with its load."""
    folder = fleet.fresh_folder()
    key = folder / "key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    more = {"HUTCH_KEY_FILE": str(key)} if peer.kind in OF_HUTCH else {}
    chat = says("user", prompts.words(HISTORY_WORDS))
    with fleet.started(peer, folder, more) as server:
        samples = [await _one(server, chat, fleet.timeout_s)]
    chat += [*says("assistant", samples[0].text), *says("user", "And now?")]
    with fleet.started(peer, folder, more) as server:
        load(server)
        samples.append(await _one(server, chat, fleet.timeout_s))
    with fleet.started(peer, folder, more) as server:
        samples.append(await _one(server, chat, fleet.timeout_s))
    names = ("first token", "first token, with the load")
    return Done({name: _wait_ms(each) for name, each in zip(names, samples[1:], strict=True)}, samples)


async def idle_streams(fleet: Fleet, peer: Peer, prompts: Prompts) -> Done:
    """Streams that wait for their turn, all of one user, and short chats of another user beside them."""
    folder = fleet.fresh_folder()
    users = ["", ""]
    more = {}
    if peer.kind in OF_HUTCH:
        more["HUTCH_MAX_QUEUE"] = str(fleet.num_idle * 2)
        keys = KeyFile(hutch_home(fleet.setup, peer, folder) / "keys.json")
        users = [_added(keys, name) for name in ("idle", "other")]
    with fleet.started(peer, folder, more) as server:
        load(server)
        idle, other = (replace(server, key=key) for key in users)
        before = _rss_bytes(server.pid)
        streams = _Streams(idle)
        try:
            await streams.open([prompts.new(12) for _ in range(fleet.num_idle)])
            await asyncio.sleep(SETTLE_S)
            held, grown = streams.num_held, _rss_bytes(server.pid)
            beside = await _beside(other, prompts, min(fleet.timeout_s, BESIDE_S))
        finally:
            await streams.close()
    waits = [wait for wait in map(_wait_ms, beside) if wait is not None]
    values = {
        "streams held": float(held),
        "first token beside them": statistics.median(waits) if waits else None,
        "memory": grown / 2**20,
        "memory for each": (grown - before) / 1024 / held if held else None,
    }
    return Done(values, beside, error=streams.problem)


async def _beside(server: Server, prompts: Prompts, timeout_s: float) -> list[Sample]:
    """Short chats one after another, until one is not answered."""
    samples: list[Sample] = []
    while len(samples) < NUM_BESIDE and not (samples and samples[-1].error):
        samples.append(await _one(server, prompts.new(12), timeout_s))
    return samples


class _Streams:
    """Streams that wait. They are no requests of the load client, which would need as much memory as the server."""

    def __init__(self, server: Server) -> None:
        self.num_held = 0  # open, and neither ended nor refused
        self.problem = ""
        self._server = server
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, chats: Sequence[Chat]) -> None:
        """Open one for each chat, and return when all were sent or the time is over."""
        gate = asyncio.Semaphore(_CONNECT_AT_ONCE)
        sent = [asyncio.Event() for _ in chats]
        self._tasks = [
            asyncio.create_task(self._hold(chat, gate, event))
            for chat, event in zip(chats, sent, strict=True)
        ]
        try:
            async with asyncio.timeout(OPEN_S):
                await asyncio.gather(*(event.wait() for event in sent))
        except TimeoutError:
            self.problem = f"not all streams could be opened within {OPEN_S:g} s"

    async def close(self) -> None:
        """Hang up on all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, chat: Chat, gate: asyncio.Semaphore, sent: asyncio.Event) -> None:
        parts = urlsplit(self._server.base)
        try:
            async with gate:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError as error:
            self.problem = f"a stream could not be opened: {error}"
            return
        finally:
            sent.set()
        self.num_held += 1
        try:
            writer.write(_request(self._server, chat))
            status = await reader.readline()
            if status and b" 200 " not in status:
                self.problem = f"a stream was refused: {status.decode(errors='replace').strip()}"
            while await reader.read(1 << 16):
                pass
        except OSError as error:
            self.problem = f"a stream was cut: {error}"
        finally:
            self.num_held -= 1
            writer.close()


def _request(server: Server, chat: Chat) -> bytes:
    data = body(server, chat, 256)
    lines = [
        f"POST {PATHS[server.dialect]} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *([f"Authorization: Bearer {server.key}"] if server.key else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


def _added(keys: KeyFile, name: str) -> str:
    """A new key of this name, for a server that is to be started."""
    key, text = new_key(name)
    keys.add(key)
    return text


def allowed_streams(wanted: int) -> int:
    """How many streams this process and those that it starts may hold: it raises their limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + SPARE_FILES if hard == resource.RLIM_INFINITY else min(hard, wanted + SPARE_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return wanted if soft == resource.RLIM_INFINITY else max(0, min(wanted, soft - SPARE_FILES))


async def _one(server: Server, chat: Chat, timeout_s: float) -> Sample:
    return (await ask_at_once(server, [body(server, chat, 8)], timeout_s))[0]


def _wait_ms(sample: Sample) -> float | None:
    return None if sample.error or sample.first_s is None else (sample.first_s - sample.started_s) * 1000


def _rss_bytes(pid: int) -> int:
    """What a process holds in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


OWN_SERVERS = (
    Workload("cold start", (("first answer", "ms"), ("first token", "ms")), cold_start, needs="process"),
    Workload(
        "second turn after a restart",
        (("first token", "ms"), ("first token, with the load", "ms")),
        second_turn,
        needs="process",
    ),
    Workload(
        "idle streams",
        (
            ("streams held", "streams"),
            ("first token beside them", "ms"),
            ("memory", "MiB"),
            ("memory for each", "KiB"),
        ),
        idle_streams,
        needs="process",
        is_once=True,
    ),
)
ALL = (*WORKLOADS, *OWN_SERVERS)
