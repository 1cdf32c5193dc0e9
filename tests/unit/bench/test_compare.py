"""A comparison from servers to table, with scripted ones, and the verdict on the front."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from bench.compare import Plan, Report, compare, print_report
from bench.figures import Turn, Value
from bench.front_vs_worker import TARGETS, verdicts
from bench.load import Server
from bench.workloads import WORKLOADS, Workload

CHAT = Workload("short chat", 3, 2, WORKLOADS[0].metrics, at_once=2, turns=2)


async def _compare(plan: Plan) -> tuple[Report, list[str], list[str]]:
    """Compare two servers that are one and note who was asked what."""
    askers: list[str] = []
    prompts: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        is_ollama = request.path == "/api/chat"
        askers.append("o" if is_ollama else "v")
        prompts.append((await request.json())["messages"][0]["content"])
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
    try:
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        servers = [Server("o", "ollama", base), Server("v", "openai", base)]
        return await compare(servers, plan), askers, prompts
    finally:
        await runner.cleanup()


def test_servers_take_turns_and_no_prompt_comes_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, askers, prompts = asyncio.run(_compare(Plan("m", rounds=2, workloads=(CHAT,))))
    turns = {"".join(askers)[at : at + 4] for at in range(0, len(askers), 4)}
    assert turns == {"oovv", "vvoo"}  # one after the other, and not always the same one first
    assert len(set(prompts)) == len(prompts) == 20
    assert len(report.turns) == 4
    assert not report.errors
    print_report(report)
    assert "4 of" not in capsys.readouterr().out.splitlines()[0]
    report.write(tmp_path / "new" / "r.json")
    assert len(json.loads((tmp_path / "new" / "r.json").read_text())["turns"]) == 4


def test_a_run_ends_at_its_time_limit() -> None:
    report, askers, _ = asyncio.run(_compare(Plan("m", workloads=(CHAT,), limit_s=0)))
    assert (report.was_cut, report.turns, askers) == (True, [], [])


def _report(first_ms: float, decode: float, total: float) -> Report:
    figures = {"short chat": first_ms, "one stream": decode, "8 at once": total}
    turns = []
    for workload, value in figures.items():
        known = next(some for some in WORKLOADS if some.name == workload)
        values: dict[str, dict[str, Value]] = {
            name.name: {"front": value, "worker again": 1.0, "worker": 100.0} for name in known.metrics
        }
        turns.append(Turn(1, workload, values, {}, [], {}))
    servers = tuple(Server(name, "openai", "") for name in ("front", "worker again", "worker"))
    return Report(servers, Plan("m"), turns, was_cut=False)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((102.0, 98.0, 97.0), [True, True, True]),
        ((102.1, 98.0, 97.0), [False, True, True]),
        ((90.0, 97.9, 97.0), [True, False, True]),
        ((90.0, 110.0, 96.9), [True, True, False]),
    ],
)
def test_a_target_holds_up_to_its_limit(figures: tuple[float, float, float], expected: list[bool]) -> None:
    assert [holds for holds, _ in verdicts(_report(*figures))] == expected


def test_a_target_that_was_not_measured_does_not_hold() -> None:
    report = _report(1, 1, 1)
    report.turns[0].values["first token"]["front"] = None
    assert [sentence for holds, sentence in verdicts(report) if "not measured" in sentence and not holds]
    assert len(verdicts(report)) == len(TARGETS)
