"""Servers asked in turn, with scripted ones."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from bench.compare import Plan, Report, compare
from bench.fleet import Fleet
from bench.load import Server
from bench.servers import Peer, Setup
from bench.workloads import FIRST, WORKLOADS, chats, together

CHAT = chats("short chat", together(2, 3, 2), (FIRST,), turns=2)


async def _compare(
    folder: Path, plan: Plan, dialects: Sequence[str] = ("ollama", "openai")
) -> tuple[Report, list[str], list[str]]:
    """Compare servers that are one and note who was asked what; what is asked of `broken` fails."""
    askers: list[str] = []
    prompts: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if not asked["stream"]:
            return web.json_response({})
        is_ollama = request.path == "/api/chat"
        askers.append(request.path[1])
        prompts.append(asked["messages"][0]["content"])
        if is_ollama:
            return web.Response(
                text='{"message":{"content":"a"}}\n{"done":true,"prompt_eval_count":9,"eval_count":1}\n'
            )
        return web.Response(text='data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n')

    app = web.Application()
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    peers = [Peer(name, "url", name, place=Server(name, name, base)) for name in dialects]
    try:
        with Fleet(peers, Setup(folder, "m"), folder) as fleet:
            return await compare(fleet, peers, plan), askers, prompts
    finally:
        await runner.cleanup()


def test_servers_take_turns_and_no_prompt_comes_twice(tmp_path: Path) -> None:
    report, askers, prompts = asyncio.run(_compare(tmp_path, Plan((CHAT,), "openai", rounds=2)))
    turns = {"".join(askers)[at : at + 4] for at in range(0, len(askers), 4)}
    assert turns == {"aavv", "vvaa"}  # one after the other, and not always the same one first
    assert len(set(prompts)) == len(prompts) == 20
    assert len(report.turns) == 4
    assert report.turns[0].num_short == {"ollama": 2, "openai": 2}
    assert not report.errors
    assert [line.server for line in report.lines] == ["ollama", "openai"]


def test_a_run_ends_at_its_time_limit(tmp_path: Path) -> None:
    report, askers, _ = asyncio.run(_compare(tmp_path, Plan((CHAT,), "openai", limit_s=0)))
    assert (report.was_cut, report.turns, askers) == (True, [], [])


def test_a_server_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    async def go() -> Report:
        broken = Peer("broken", "foundry")
        with Fleet([broken], Setup(tmp_path, "m"), tmp_path) as fleet:
            return await compare(fleet, [broken], Plan(WORKLOADS, "broken", rounds=1))

    report = asyncio.run(go())
    assert len(report.turns) == sum(each.turns for each in WORKLOADS)
    assert {line.own for line in report.lines} == {None}
    assert not [line for line in report.lines if line.workload == "embeddings"]  # it was not asked for that
    assert (
        "short chat, broken: Failed: broken: Foundry Local needs --foundry and --onnx-model" in report.errors
    )
