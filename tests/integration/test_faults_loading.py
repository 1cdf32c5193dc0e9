"""Models that come and go: evicted, expired, unloaded, beside each other; servers that leave when idle."""

import asyncio
import concurrent.futures
import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import EngineFailed
from hutch.engines.protocol import LaunchPlan
from hutch.runtime.worker import SocketFolder, Worker, with_endpoint
from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import (
    GREEDY,
    LONG,
    Streaming,
    ask,
    children,
    eventually,
    generate,
    is_alive,
    own_models,
    running,
    serving,
)

OTHER = "other:latest"


@pytest.fixture(scope="module")
def two_names(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder in which two names stand for the model."""
    folder = own_models(models_dir, tmp_path_factory.mktemp("two") / "models")
    first = folder / "manifests/registry.ollama.ai/library" / MODEL.replace(":", "/")
    second = folder / "manifests/registry.ollama.ai/library" / OTHER.replace(":", "/")
    second.parent.mkdir()
    second.write_bytes(first.read_bytes())
    return folder


@pytest.fixture(scope="module")
def room_for_one(serve: Callable[..., Server], two_names: Path) -> Server:
    """A server that holds one model at a time."""
    return serve(two_names, MAX_LOADED_MODELS="1")


@EVERY_ENGINE
def test_a_second_model_takes_the_place_of_an_idle_one(room_for_one: Server) -> None:
    assert generate(room_for_one).status == 200
    pid = running(room_for_one)[MODEL]["pid"]
    assert generate(room_for_one, OTHER).status == 200
    assert list(running(room_for_one)) == [OTHER]
    assert not is_alive(pid)


@EVERY_ENGINE
def test_a_second_model_waits_until_the_busy_one_has_answered(room_for_one: Server) -> None:
    body = {"model": MODEL, "prompt": "Count.", "options": GREEDY | {"num_predict": 60}}
    with (
        Streaming(room_for_one, "/api/generate", body) as stream,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        events = stream.events()
        next(events)
        second = pool.submit(generate, room_for_one, OTHER)
        assert list(events)[-1]["done_reason"] in ("stop", "length")
        assert second.result(30).status == 200
    assert list(running(room_for_one)) == [OTHER]


@EVERY_ENGINE
def test_two_models_answer_beside_each_other(serve: Callable[..., Server], two_names: Path) -> None:
    server = serve(two_names)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        few = {"num_predict": 3}
        replies = pool.map(lambda name: generate(server, name, options=few), [MODEL, OTHER] * 2)
        assert [reply.status for reply in replies] == [200] * 4
    rows = running(server)
    assert set(rows) == {MODEL, OTHER}
    assert children(server.process.pid) == {row["pid"] for row in rows.values()}


@EVERY_ENGINE
def test_a_model_leaves_when_its_keep_alive_is_over(room_for_one: Server) -> None:
    assert generate(room_for_one, keep_alive=0.3).status == 200
    pid = running(room_for_one)[MODEL]["pid"]
    eventually(lambda: not running(room_for_one), 5, "the model is unloaded")
    eventually(lambda: not is_alive(pid), 5, "its worker is gone")


@EVERY_ENGINE
def test_a_keep_alive_of_nought_unloads_right_after_the_answer(room_for_one: Server) -> None:
    reply = generate(room_for_one, keep_alive=0)
    assert reply.json["response"]
    eventually(lambda: not running(room_for_one), 5, "the model is unloaded")


@EVERY_ENGINE
@pytest.mark.parametrize("keep_alive", [-1, "-1m", "100000h", 1e18])
def test_a_model_can_be_kept_for_ever(room_for_one: Server, keep_alive: Any) -> None:
    assert generate(room_for_one, keep_alive=keep_alive, options={"num_predict": 1}).status == 200
    assert running(room_for_one)[MODEL]["expires_at"] > "2030"


@EVERY_ENGINE
def test_an_unload_in_mid_stream_lets_the_stream_end_first(room_for_one: Server) -> None:
    body = {"model": MODEL, "prompt": "Count.", "options": GREEDY | {"num_predict": 40}}
    with Streaming(room_for_one, "/api/generate", body) as stream:
        events = stream.events()
        next(events)
        unload = ask(room_for_one, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0})
        assert unload.json["done_reason"] == "unload"
        assert list(events)[-1]["done"]
    eventually(lambda: not running(room_for_one), 5, "the model is unloaded")


@EVERY_ENGINE
def test_a_model_deleted_in_mid_stream_answers_to_the_end_and_is_then_not_found(
    serve: Callable[..., Server], models_copy: Path
) -> None:
    server = serve(models_copy)
    body = {"model": MODEL, "prompt": "Count.", "options": GREEDY | {"num_predict": 40}}
    with Streaming(server, "/api/generate", body) as stream:
        events = stream.events()
        next(events)
        assert ask(server, "DELETE", "/api/delete", {"model": MODEL}).status == 200
        assert list(events)[-1]["done"]
    assert generate(server).status == 404
    eventually(lambda: not running(server), 5, "the model is unloaded")


@EVERY_ENGINE
def test_a_larger_context_reloads_the_model_and_a_smaller_one_does_not(room_for_one: Server) -> None:
    assert generate(room_for_one, options={"num_predict": 1, "num_ctx": 512}).status == 200
    pid = running(room_for_one)[MODEL]["pid"]
    assert running(room_for_one)[MODEL]["context_length"] == 512
    assert generate(room_for_one, options={"num_predict": 1, "num_ctx": 256}).status == 200
    assert running(room_for_one)[MODEL]["pid"] == pid
    assert generate(room_for_one, options={"num_predict": 1, "num_ctx": 1024}).status == 200
    row = running(room_for_one)[MODEL]
    assert row["pid"] != pid
    assert row["context_length"] == 1024


def test_a_server_with_nothing_loaded_leaves_when_nobody_asks(models_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", models_dir, "--idle-exit", "1") as server:
        assert ask(server, "GET", "/api/tags").status == 200
        assert server.process.wait(6) == 0


def test_a_server_with_a_loaded_model_stays_until_it_is_unloaded(models_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", models_dir, "--idle-exit", "0.4") as server:
        assert generate(server, keep_alive=2, options={"num_predict": 1}).status == 200
        eventually(lambda: server.process.poll() is None and not running(server), 6, "the model is unloaded")
        assert server.process.wait(6) == 0


def test_the_health_checks_do_not_keep_an_idle_server(models_dir: Path, tmp_path: Path) -> None:
    def left() -> bool:
        try:
            ask(server, "GET", "/healthz")
        except OSError:
            return True
        return False

    with serving(tmp_path / "home", models_dir, "--idle-exit", "0.5") as server:
        eventually(left, 6, "the server has left")
        assert server.process.wait(6) == 0


def plan_of(models: Path) -> LaunchPlan:
    """How to launch a worker with the real model."""
    [weights] = (path for path in (models / "blobs").iterdir() if path.stat().st_size > 1 << 20)
    sockets = SocketFolder(unix=False)
    plan = LaunchPlan(
        weights=str(weights.absolute()),
        endpoint=sockets.next_endpoint(),
        num_ctx=256,
        num_slots=1,
        num_batch=256,
        num_ubatch=256,
        num_thread=2,
    )
    assert plan.endpoint.socket == ""
    return plan


def slots_status(port: int, secret: str) -> int:
    """The status of a request with this secret to a worker on a loopback port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/slots", headers={"Authorization": f"Bearer {secret}"} if secret else {})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_worker_on_a_loopback_port_answers_only_who_has_the_secret(
    models_dir: Path, tmp_path: Path
) -> None:
    plan = plan_of(models_dir)

    async def use() -> None:
        worker = Worker(plan, tmp_path / "worker.log")
        await worker.start(60)
        try:
            endpoint = plan.endpoint
            statuses = [
                await asyncio.to_thread(slots_status, endpoint.port, secret)
                for secret in ("", "wrong", endpoint.secret)
            ]
            assert statuses == [401, 401, 200]
            assert len(await worker.client.get("/slots")) == 1
            assert endpoint.secret not in endpoint.label
            assert worker.pid is not None
            command = await asyncio.to_thread(Path(f"/proc/{worker.pid}/cmdline").read_bytes)
            assert endpoint.secret.encode() not in command
        finally:
            await worker.stop()
        assert worker.pid is None

    asyncio.run(use())


def test_a_worker_that_does_not_load_in_time_is_ended(models_dir: Path, tmp_path: Path) -> None:
    async def use() -> None:
        sockets = SocketFolder()
        worker = Worker(with_endpoint(plan_of(models_dir), sockets.next_endpoint()), tmp_path / "worker.log")
        try:
            with pytest.raises(EngineFailed, match=r"did not load within 0\.01 s"):
                await worker.start(0.01)
            assert worker.pid is None
        finally:
            sockets.close()

    asyncio.run(use())


@EVERY_ENGINE
def test_a_long_answer_ends_where_the_context_does(room_for_one: Server) -> None:
    body = {"model": MODEL, "prompt": "1 2 3 4 5 6 7 8 9", "raw": True, "options": LONG | {"num_ctx": 256}}
    assert ask(room_for_one, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0}).status == 200
    with Streaming(room_for_one, "/api/generate", body) as stream:
        last = list(stream.events())[-1]
    assert last["done_reason"] == "length"
    assert last["prompt_eval_count"] + last["eval_count"] <= 256
