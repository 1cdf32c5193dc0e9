"""The clients of Python and Node.js against a real server with the real model: what is asked, and what dies meanwhile."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hutch import AsyncClient, Client, Retries
from hutch.core.errors import BadInput, EngineFailed, NotFound, Unreachable
from hutch.sdk.failures import BrokenOff
from hutch.sdk.settings import Options
from tests.conftest import EVERY_ENGINE, MODEL, Server, clean_environment

NODE = Path(__file__).parents[2] / "sdk" / "node"
LONG: Options = {"num_predict": 2000, "temperature": 0.0}
BRIEF: Options = {"num_predict": 8, "temperature": 0.0}
DONE_REASONS = ("stop", "length")


@EVERY_ENGINE
def test_a_day_of_a_program(serve: Callable[..., Server], models_copy: Path) -> None:
    with Client(serve(models_copy).url) as client:
        assert client.health().is_ready
        assert client.version().hutch
        assert [model.name for model in client.list()] == [MODEL]
        answer = client.chat(MODEL, "Count to three.", options=BRIEF)
        assert answer.text
        assert answer.usage.completion_tokens <= 8
        with client.chat_stream(MODEL, "Count to three.", options=BRIEF) as pieces:
            texts = [piece.text for piece in pieces]
        assert "".join(texts) == answer.text
        assert client.generate(MODEL, "Hi", options=BRIEF).done_reason in DONE_REASONS
        if client.show(MODEL).details.format == "gguf":
            first, second = client.embed(MODEL, ["a", "b"]).vectors
            assert len(first) == len(second) > 0
        else:
            with pytest.raises(BadInput, match="does not support embeddings"):
                client.embed(MODEL, ["a", "b"])
        response = client.respond(MODEL, "Hi", max_output_tokens=8)
        events = client.respond_stream(MODEL, "And?", previous_response_id=response.id, max_output_tokens=8)
        assert [event.response for event in events][-1] is not None
        (running,) = client.ps()
        assert (running.name, running.state) == (MODEL, "ready")
        assert "completion" in client.show(MODEL).capabilities
        steps = [step.status for step in client.create_stream("mario", from_=MODEL, system="You are Mario.")]
        assert steps[-1] == "success"
        client.copy("mario", "luigi")
        assert client.show("luigi").system == "You are Mario."
        client.delete("luigi")
        with pytest.raises(NotFound):
            client.show("luigi")
        client.unload(MODEL)
        assert not client.ps()
        client.load(MODEL, keep_alive="10m")
        assert client.ps()[0].state == "ready"
        digest = client.create_blob(b"a file")
        assert client.has_blob(digest)
        assert not client.has_blob("sha256:" + "0" * 64)


async def _at_once(url: str) -> list[str]:
    async with AsyncClient(url) as client:
        answers = await asyncio.gather(*(client.chat(MODEL, f"{i}?", options=BRIEF) for i in range(8)))
        async with await client.chat_stream(MODEL, "Hi", options=LONG) as pieces:
            async for _ in pieces:
                break
        while (await client.ps())[0].num_busy:
            await asyncio.sleep(0.05)
        return [answer.done_reason for answer in answers]


def test_many_at_once_and_one_that_leaves(server: Server) -> None:
    assert set(asyncio.run(asyncio.wait_for(_at_once(server.url), 60))) <= set(DONE_REASONS)


def test_a_full_queue_is_waited_for(serve: Callable[..., Server], models_dir: Path) -> None:
    server = serve(models_dir, NUM_PARALLEL="1", MAX_QUEUE="1")

    async def ask() -> list[str]:
        retries = Retries(times=40, first_s=0.05, longest_s=20.0)
        async with AsyncClient(server.url, retries=retries) as client:
            answers = await asyncio.gather(*(client.chat(MODEL, "Hi", options=BRIEF) for _ in range(6)))
            return [answer.done_reason for answer in answers]

    assert len(asyncio.run(ask())) == 6


def _kill_while_it_answers(client: Client, pid: int) -> None:
    for count, _ in enumerate(client.chat_stream(MODEL, "Tell a long story.", options=LONG)):
        if count == 3:
            os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_ends_the_stream_with_an_error(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    with Client(serve(models_dir).url) as client:
        client.load(MODEL)
        with pytest.raises(EngineFailed):
            _kill_while_it_answers(client, client.ps()[0].pid)
        assert client.chat(MODEL, "Hi", options=BRIEF).text  # its successor answers


def test_a_killed_server_ends_the_stream_with_an_error(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir)
    with Client(server.url, retries=Retries(times=1)) as client:
        with pytest.raises(BrokenOff):
            _kill_while_it_answers(client, server.process.pid)
        server.process.wait(10)
        with pytest.raises(Unreachable):
            client.list()


def _node(script: str, url: str, folder: Path) -> subprocess.Popen[str]:
    (folder / "node_modules").mkdir(exist_ok=True)
    (folder / "node_modules" / "hutch").symlink_to(NODE)
    (folder / "program.mjs").write_text(script, encoding="utf-8")
    return subprocess.Popen(
        ["node", "program.mjs"],
        cwd=folder,
        env=clean_environment(HUTCH_HOST=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


TELL_A_STORY = f"""
import {{ Client, BrokenOff }} from 'hutch'
try {{
  for await (const piece of new Client().chatStream('{MODEL}', 'Tell a long story.', {{ options: {{ num_predict: 2000 }} }})) console.log('piece')
}} catch (error) {{
  console.log(error instanceof BrokenOff, error.hint)
}}
"""


def test_a_killed_server_ends_the_stream_of_node(
    serve: Callable[..., Server], models_dir: Path, tmp_path: Path
) -> None:
    server = serve(models_dir)
    with _node(TELL_A_STORY, server.url, tmp_path) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "piece\n"
        server.process.kill()
        said, _ = program.communicate(timeout=20)
    assert said.splitlines()[-1].startswith("true Send the request again")


def test_the_client_of_node_against_a_script() -> None:
    done = subprocess.run(
        ["node", "--test", "test/client.test.mjs"],
        cwd=NODE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout[-5000:]


@EVERY_ENGINE
def test_the_client_of_node_against_a_server(serve: Callable[..., Server], models_copy: Path) -> None:
    done = subprocess.run(
        ["node", "--test", "test/live.test.mjs"],
        cwd=NODE,
        env=clean_environment(HUTCH_HOST=serve(models_copy).url, TEST_MODEL=MODEL),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "# skipped 0" in done.stdout
