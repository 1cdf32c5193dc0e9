"""The load client: what it accepts as a server, and what it makes of a stream."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from bench.load import Sample, Server, ask_at_once, body, embed, lines, read

SSE = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\xc3\xa9"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"b"}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)
NDJSON = (
    b'{"message":{"content":"a"},"done":false}\n',
    b'{"message":{"content":"b"},"done":false}\n',
    b'{"message":{"content":""},"done":true,"prompt_eval_count":9,"eval_count":2}\n',
)


def arrivals(*chunks: bytes) -> list[tuple[float, bytes]]:
    return [(float(number), chunk) for number, chunk in enumerate(chunks, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "hutch=http://192.168.1.5:11434,ollama",
        "hutch=http://example.org,ollama",
        "hutch=http://127.0.0.1.example.org,ollama",
        "hutch=http://127.0.0.1@example.org,ollama",
        "hutch=https://127.0.0.1,ollama",
        "hutch=http://0.0.0.0:11434,ollama",
        "hutch=http://127.0.0.1:11434,grpc",
        "hutch=http://127.0.0.1:11434",
        "http://127.0.0.1:11434,ollama",
        "",
    ],
)
def test_refuses_other_machines_and_unreadable_servers(text: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1|loopback"):
        Server.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h=http://127.0.0.1:1/,ollama", Server("h", "ollama", "http://127.0.0.1:1")),
        ("h=http://[::1]:1,openai", Server("h", "openai", "http://[::1]:1")),
        ("h=http://localhost:1,openai", Server("h", "openai", "http://localhost:1")),
        ("w=unix:/a,b=c.sock,openai", Server("w", "openai", "http://localhost", "/a,b=c.sock")),
    ],
)
def test_reads_servers(text: str, expected: Server) -> None:
    assert Server.parse(text) == expected


def test_a_line_has_the_time_at_which_its_end_came() -> None:
    assert list(lines(arrivals(b"a", b"b\n\nc\r", b"\nd"))) == [(2.0, b"ab"), (3.0, b"c"), (3.0, b"d")]


@pytest.mark.parametrize(
    ("dialect", "stream", "times_s", "text"),
    [("openai", SSE, (5.0, 2.0, 3.0), "éb"), ("ollama", NDJSON, (3.0, 1.0, 2.0), "ab")],
)
def test_reads_a_stream(
    dialect: str, stream: tuple[bytes, ...], times_s: tuple[float, float, float], text: str
) -> None:
    assert read(dialect, 0.5, arrivals(*stream)) == Sample(0.5, *times_s, 9, 2, text=text)


@pytest.mark.parametrize(("dialect", "stream"), [("openai", SSE), ("ollama", NDJSON)])
def test_reads_the_same_from_single_bytes_and_from_one_piece(dialect: str, stream: tuple[bytes, ...]) -> None:
    whole = b"".join(stream)
    for pieces in ([bytes([byte]) for byte in whole], [whole]):
        sample = read(dialect, 0.0, arrivals(*pieces))
        assert (sample.prompt_tokens, sample.tokens, sample.error) == (9, 2, "")
        assert sample.first_s


@pytest.mark.parametrize(
    ("dialect", "chunks", "error"),
    [
        ("openai", SSE[:3], "cut"),
        ("ollama", NDJSON[:2], "cut"),
        ("openai", (), "cut"),
        ("openai", (*SSE[:2], b'data: {"error":{"message":"died"}}\n\n'), "died"),
        ("openai", (*SSE[:2], b'event: error\ndata: {"error":"died"}\n\n', SSE[-1]), "died"),
        ("openai", (b'error: {"code":500}\n\n',), "bad event"),
        ("openai", (b"data: {\n\n", SSE[-1]), "bad event"),
        ("ollama", (*NDJSON[:1], b'{"error":"died"}\n'), "died"),
        ("ollama", (*NDJSON[:1], b"null\n"), "bad line"),
        ("ollama", NDJSON[2:], "no text"),
    ],
)
def test_names_what_is_wrong_with_a_stream(dialect: str, chunks: tuple[bytes, ...], error: str) -> None:
    assert error in read(dialect, 0.0, arrivals(*chunks)).error


def test_asks_both_dialects_for_greedy_sampling_and_actual_counts() -> None:
    openai = json.loads(body(Server("s", "openai", "", model="m"), [], 5))
    assert (openai["model"], openai["temperature"], openai["max_tokens"]) == ("m", 0, 5)
    assert openai["stream_options"] == {"include_usage": True}
    ollama = json.loads(body(Server("s", "ollama", ""), [], 5))
    assert ollama["options"] == {"temperature": 0, "num_predict": 5}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def started(path: str, handler: Handler) -> web.AppRunner:
    app = web.Application()
    app.router.add_post(path, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    return runner


def asked(handler: Handler, socket: Path | None, timeout_s: float = 5) -> list[Sample]:
    """Ask a scripted server twice at once."""

    async def go() -> list[Sample]:
        runner = await started("/v1/chat/completions", handler)
        site = web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            base = "http://localhost" if socket else f"http://127.0.0.1:{runner.addresses[0][1]}"
            server = Server("s", "openai", base, str(socket) if socket else None)
            return await ask_at_once(server, [b"{}", b"{}"], timeout_s)
        finally:
            await runner.cleanup()

    return asyncio.run(go())


async def in_pieces(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    whole = b"".join(SSE)
    for start in range(0, len(whole), 50):
        await response.write(whole[start : start + 50])
        await asyncio.sleep(0.01)
    return response


@pytest.mark.parametrize("place", ["unix", "tcp"])
def test_measures_a_server_that_splits_its_lines(place: str, tmp_path: Path) -> None:
    samples = asked(in_pieces, tmp_path / "s" if place == "unix" else None)
    assert [(sample.tokens, sample.error) for sample in samples] == [(2, "")] * 2
    for sample in samples:
        assert sample.first_s is not None
        assert sample.last_s is not None
        assert sample.started_s < sample.first_s < sample.last_s < sample.ended_s


async def refuses(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": {"message": "busy"}}, status=503)


async def cuts(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(SSE[1])
    assert request.transport
    request.transport.close()
    return response


async def hangs(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0.5)
    return await refuses(request)


async def sends_away(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://example.org/")


@pytest.mark.parametrize(
    ("handler", "error"),
    [(refuses, "503: "), (cuts, "ClientPayloadError"), (hangs, "no end within 0.2 s"), (sends_away, "307: ")],
)
def test_an_error_is_a_sample_too(handler: Handler, error: str) -> None:
    assert [error in sample.error for sample in asked(handler, None, 0.2)] == [True, True]


def test_a_missing_server_is_a_sample_too(tmp_path: Path) -> None:
    server = Server("s", "openai", "http://localhost", str(tmp_path / "none"))
    assert "Error" in asyncio.run(ask_at_once(server, [b"{}"], 1))[0].error


@pytest.mark.parametrize(
    ("dialect", "path", "name", "batches"),
    [
        ("openai", "/v1/embeddings", "data", [["a", "b"]]),
        ("ollama", "/api/embed", "embeddings", [["a", "b"]]),
        ("openai", "/v1/embeddings", "data", [["a"], ["b"]]),
    ],
)
def test_texts_become_vectors_in_one_request_or_in_one_each(
    dialect: str, path: str, name: str, batches: list[list[str]]
) -> None:
    seen: list[list[str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer k"
        seen.append((await request.json())["input"])
        return web.json_response({name: [[0.5]] * len(seen[-1])})

    async def go() -> Sample:
        runner = await started(path, answer)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            base = f"http://127.0.0.1:{runner.addresses[0][1]}"
            server = Server("s", dialect, base, key="k", embeds_batches=len(batches) == 1)
            return await embed(server, ["a", "b"], 5)
        finally:
            await runner.cleanup()

    sample = asyncio.run(go())
    assert (sample.tokens, sample.error) == (2, "")
    assert sorted(seen) == batches
