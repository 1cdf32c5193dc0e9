"""One timed request to one server: the load client of the benchmarks.

It asks this machine's servers only. What arrives is kept with its time and read after the answer has ended, so that
reading takes nothing from the server that is being measured.
"""

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

MAX_ANSWER_BYTES = 16 * 1024 * 1024

Arrivals = list[tuple[float, bytes]]  # when it came (perf_counter), what came


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and which dialect it is asked in."""

    name: str
    dialect: str
    base: str
    socket: str | None = None
    model: str = ""
    key: str = ""
    pid: int = 0  # of its process, where it was started here
    began_s: float = 0.0  # when that was started
    embeds_batches: bool = True  # else each text is a request of its own

    @classmethod
    def parse(cls, text: str) -> "Server":
        """Read `name=http://127.0.0.1:11434,ollama` or `name=unix:/path/worker.sock,openai`."""
        name, _, rest = text.partition("=")
        place, _, dialect = rest.rpartition(",")
        if not name or not place or dialect not in PATHS:
            raise ValueError(f"{text!r}: write name=http://127.0.0.1:PORT,DIALECT or name=unix:/PATH,DIALECT")
        if place.startswith("unix:"):
            return cls(name, dialect, "http://localhost", place.removeprefix("unix:"))
        refuse_unless_loopback(place)
        return cls(name, dialect, place.rstrip("/"))

    def connector(self) -> aiohttp.BaseConnector:
        """Open a new connection for each request: a pooled one may have been closed by the server."""
        if self.socket is not None:
            return aiohttp.UnixConnector(self.socket, force_close=True, limit=0)
        return aiohttp.TCPConnector(force_close=True, limit=0)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one request gave. Times are perf_counter seconds."""

    started_s: float
    ended_s: float
    first_s: float | None = None
    last_s: float | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    error: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What one line of a stream says."""

    text: str = ""
    is_end: bool = False
    prompt_tokens: int = 0
    tokens: int = 0
    error: str = ""


def refuse_unless_loopback(url: str) -> None:
    """A load client must never be pointed at somebody else's machine, not even by a typing error."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if parts.scheme != "http" or not is_loopback:
        raise ValueError(f"{url!r} is not http on this machine's loopback address")


def body(server: Server, messages: list[dict[str, str]], max_tokens: int) -> bytes:
    """Serialise a streamed chat request that samples greedily."""
    asked: dict[str, Any] = {"model": server.model, "messages": messages, "stream": True}
    if server.dialect == "ollama":
        asked["options"] = {"temperature": 0, "num_predict": max_tokens}
    else:
        asked |= {"stream_options": {"include_usage": True}, "temperature": 0, "max_tokens": max_tokens}
    return json.dumps(asked).encode()


async def ask(session: aiohttp.ClientSession, server: Server, data: bytes, timeout_s: float) -> Sample:
    """Send one request and read its answer to the end."""
    started_s = time.perf_counter()
    arrivals, error = await _send(session, server, PATHS[server.dialect], data, timeout_s)
    if error:
        return Sample(started_s, time.perf_counter(), error=error)
    return read(server.dialect, started_s, arrivals)


async def ask_at_once(server: Server, bodies: list[bytes], timeout_s: float) -> list[Sample]:
    """Send these requests together."""
    async with _session(server) as session:
        return await asyncio.gather(*(ask(session, server, data, timeout_s) for data in bodies))


async def embed(server: Server, texts: list[str], timeout_s: float) -> Sample:
    """Have texts made into vectors, which count as the sample's tokens."""
    async with _session(server) as session:
        started_s = time.perf_counter()
        parts = [texts] if server.embeds_batches else [[text] for text in texts]
        found = await asyncio.gather(*(_embed(session, server, part, timeout_s) for part in parts))
        ended_s = time.perf_counter()
    error = next((error for _, error in found if error), "")
    return Sample(started_s, ended_s, tokens=sum(count for count, _ in found), error=error)


async def _embed(
    session: aiohttp.ClientSession, server: Server, texts: list[str], timeout_s: float
) -> tuple[int, str]:
    """How many vectors came, or what was wrong."""
    path, name = _EMBEDDING[server.dialect]
    data = json.dumps({"model": server.model, "input": texts}).encode()
    arrivals, error = await _send(session, server, path, data, timeout_s)
    if error:
        return 0, error
    vectors = (_object(b"".join(chunk for _, chunk in arrivals)) or {}).get(name, [])
    return len(vectors), "" if len(vectors) == len(texts) else f"{len(vectors)} vectors of {len(texts)}"


def _session(server: Server) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=server.connector(), timeout=aiohttp.ClientTimeout(), auto_decompress=False
    )


async def _send(
    session: aiohttp.ClientSession, server: Server, path: str, data: bytes, timeout_s: float
) -> tuple[Arrivals, str]:
    """Send a request; what arrives, and what went wrong."""
    arrivals: Arrivals = []
    headers = {"Content-Type": "application/json"}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.post(server.base + path, data=data, headers=headers, allow_redirects=False) as response,
        ):
            await _receive(response, arrivals)
            status = response.status
    except TimeoutError:
        return arrivals, f"no end within {timeout_s:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return arrivals, f"{type(error).__name__}: {error}"
    if status != 200:
        text = b"".join(chunk for _, chunk in arrivals)[:200].decode(errors="replace")
        return arrivals, f"{status}: {text}"
    return arrivals, ""


def read(dialect: str, started_s: float, arrivals: Arrivals) -> Sample:
    """Make a sample of what arrived. A stream without its end mark is an error, not a short answer."""
    texts: list[tuple[float, str]] = []
    prompt_tokens = tokens = 0
    ended_s = arrivals[-1][0] if arrivals else started_s
    error = "the stream was cut: no end mark"
    for at_s, line in lines(arrivals):
        event = _READERS[dialect](line)
        if event.text:
            texts.append((at_s, event.text))
        prompt_tokens, tokens = event.prompt_tokens or prompt_tokens, event.tokens or tokens
        if event.error or event.is_end:
            ended_s, error = at_s, event.error
            break
    if not error and not texts:
        error = "no text"
    first_s, last_s = (texts[0][0], texts[-1][0]) if texts else (None, None)
    text = "".join(piece for _, piece in texts)
    return Sample(started_s, ended_s, first_s, last_s, prompt_tokens, tokens, error, text)


def lines(arrivals: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Yield each line that is not empty with the time at which its end came; a last one may lack its line feed."""
    rest, at_s = b"", 0.0
    for at_s, chunk in arrivals:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line := line.strip():
                yield at_s, line
    if rest := rest.strip():
        yield at_s, rest


async def _receive(response: aiohttp.ClientResponse, arrivals: Arrivals) -> None:
    size_bytes = 0
    async for chunk in response.content.iter_any():
        arrivals.append((time.perf_counter(), chunk))
        size_bytes += len(chunk)
        if size_bytes > MAX_ANSWER_BYTES:
            raise ValueError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")


def _read_openai(line: bytes) -> Event:
    name, _, value = line.partition(b":")
    if name not in (
        b"data",
        b"error",
    ):  # an event's name or a comment; llama-server once wrote `error:` lines
        return Event()
    if value.strip() == b"[DONE]":
        return Event(is_end=True)
    said = _object(value)
    if said is None or name == b"error":
        return Event(error=f"bad event: {value[:200]!r}")
    if said.get("error"):
        return Event(error=f"in mid-stream: {said['error']}")
    usage = said.get("usage") or {}
    delta = next((choice.get("delta") or {} for choice in said.get("choices") or ()), {})
    return Event(
        text=delta.get("content") or delta.get("reasoning_content") or "",
        prompt_tokens=usage.get("prompt_tokens", 0),
        tokens=usage.get("completion_tokens", 0),
    )


def _read_ollama(line: bytes) -> Event:
    said = _object(line)
    if said is None:
        return Event(error=f"bad line: {line[:200]!r}")
    if said.get("error"):
        return Event(error=f"in mid-stream: {said['error']}")
    message = said.get("message") or {}
    return Event(
        text=message.get("content") or message.get("thinking") or "",
        is_end=bool(said.get("done")),
        prompt_tokens=said.get("prompt_eval_count", 0),
        tokens=said.get("eval_count", 0),
    )


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}
_EMBEDDING = {"openai": ("/v1/embeddings", "data"), "ollama": ("/api/embed", "embeddings")}
_READERS: dict[str, Callable[[bytes], Event]] = {"openai": _read_openai, "ollama": _read_ollama}
