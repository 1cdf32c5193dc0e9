"""Workers that are killed, cannot load, or lose their server: one model suffers, and says so."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
    num_working,
    num_written,
    own_models,
    running,
    said,
    serving,
    worker_json,
)
from tests.gguf_files import tiny_model

OTHER = "other:latest"


@pytest.fixture(scope="module")
def two_models(
    serve: Callable[..., Server], models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """A server with two loaded models of the same weights, so that a fault of one must not touch the other."""
    server = serve(own_models(models_dir, tmp_path_factory.mktemp("house") / "models"))
    assert ask(server, "POST", "/api/copy", {"source": MODEL, "destination": OTHER}).status == 200
    for name in (MODEL, OTHER):
        assert ask(server, "POST", "/api/generate", {"model": name}).status == 200
    return server


@pytest.fixture
def house(two_models: Server) -> Iterator[Server]:
    """That server, with no memory of workers that a test before has killed."""
    yield two_models
    assert ask(two_models, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0}).status == 200
    assert ask(two_models, "POST", "/api/generate", {"model": MODEL}).status == 200


def killed_in_mid_stream(server: Server, path: str, body: dict[str, Any]) -> list[Any]:
    """The events of a stream whose worker is killed after the third."""
    pid = running(server)[MODEL]["pid"]
    events = []
    with Streaming(server, path, body) as stream:
        for event in stream.events():
            events.append(event)
            if len(events) == 3:
                os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid), 2, "the killed worker is gone")
    return events


@EVERY_ENGINE
def test_a_worker_killed_in_mid_stream_ends_an_ollama_stream_with_an_error_line(house: Server) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "options": LONG}
    events = killed_in_mid_stream(house, "/api/chat", body)
    assert not any(event.get("done") for event in events)
    assert "ended before the answer did" in events[-1]["error"]
    assert events[-1]["hint"]


@EVERY_ENGINE
def test_a_worker_killed_in_mid_stream_ends_an_openai_stream_with_an_error_and_no_done(house: Server) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "stream": True}
    events = killed_in_mid_stream(house, "/v1/chat/completions", body | {"max_tokens": 2000})
    assert events[-1]["error"]["type"] == "api_error"
    assert events[-1]["error"]["code"] == "engine_failed"
    assert "[DONE]" not in events


@EVERY_ENGINE
def test_a_worker_killed_while_it_writes_fails_a_request_without_stream_with_502(house: Server) -> None:
    row = running(house)[MODEL]
    body = {"model": MODEL, "prompt": "Count.", "stream": False, "options": LONG}
    with Streaming(house, "/api/generate", body) as waiting:
        eventually(lambda: num_written(row["socket"]) > 2, 10, "the answer has begun")
        os.kill(row["pid"], signal.SIGKILL)
        reply = waiting.wait()
        assert reply.status == 502
        assert b"ended before the answer did" in reply.read()


@EVERY_ENGINE
def test_a_worker_killed_before_the_first_token_is_replaced_and_the_client_does_not_notice(
    house: Server,
) -> None:
    row = running(house)[MODEL]
    prompt = "Why is the sky blue? " * 300
    with Streaming(house, "/api/generate", {"model": MODEL, "prompt": prompt, "options": GREEDY}) as stream:
        eventually(lambda: num_working(row["socket"]), 10, "the prompt is being read")
        os.kill(row["pid"], signal.SIGKILL)
        events = list(stream.events())
    assert events[-1]["done"]
    assert running(house)[MODEL]["pid"] != row["pid"]


@EVERY_ENGINE
def test_the_next_request_after_a_death_is_answered_and_the_dead_worker_is_reaped(house: Server) -> None:
    row = running(house)[MODEL]
    os.kill(row["pid"], signal.SIGKILL)
    assert generate(house).json["eval_count"] == GREEDY["num_predict"]
    after = running(house)[MODEL]
    assert after["pid"] != row["pid"]
    assert after["state"] == "ready"
    assert not Path(f"/proc/{row['pid']}").exists()
    assert not Path(row["socket"]).exists()
    assert children(house.process.pid) == {model["pid"] for model in running(house).values()}


@EVERY_ENGINE
def test_two_deaths_in_a_row_are_survived(house: Server) -> None:
    for _ in range(2):
        os.kill(running(house)[MODEL]["pid"], signal.SIGKILL)
        eventually(
            lambda: running(house)[MODEL]["state"] == "ready" and running(house)[MODEL]["pid"], 20, "ready"
        )
    assert generate(house).json["eval_count"] == GREEDY["num_predict"]


@EVERY_ENGINE
def test_another_model_notices_nothing_of_a_death(house: Server) -> None:
    for _ in range(2):  # the second time its prompt is cached, as it will be below
        alone = generate(house, OTHER, options=GREEDY | {"num_predict": 40}).json["response"]
    pid = running(house)[OTHER]["pid"]
    body = {"model": OTHER, "prompt": "Why is the sky blue?", "options": GREEDY | {"num_predict": 40}}
    with Streaming(house, "/api/generate", body) as stream:
        text = ""
        for number, event in enumerate(stream.events()):
            if number == 5:
                os.kill(running(house)[MODEL]["pid"], signal.SIGKILL)
            text += event["response"]
    assert text == alone
    assert running(house)[OTHER]["pid"] == pid
    assert generate(house).status == 200


def test_a_gguf_that_the_engine_rejects_is_a_clean_error_and_leaves_no_process(house: Server) -> None:
    data = tiny_model()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert ask(house, "POST", f"/api/blobs/{digest}", data).status == 201
    made = ask(house, "POST", "/api/create", {"model": "tiny", "files": {"t.gguf": digest}, "stream": False})
    assert made.json == {"status": "success"}
    for _ in range(2):
        reply = generate(house, "tiny")
        assert reply.status == 502
        assert reply.json["error"].startswith("the engine could not load the model")
        assert "hutch logs" in reply.json["hint"]
    assert "tiny:latest" not in running(house)
    assert children(house.process.pid) == {model["pid"] for model in running(house).values()}
    assert generate(house).status == 200


def test_an_engine_error_names_no_path_of_this_machine(house: Server) -> None:
    data = tiny_model()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    ask(house, "POST", f"/api/blobs/{digest}", data)
    ask(house, "POST", "/api/create", {"model": "tiny", "files": {"t.gguf": digest}, "stream": False})
    assert "/" not in generate(house, "tiny").json["error"]


def connects_as_nobody(path: str) -> bool:
    """Whether another user of this machine gets through to a socket."""
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except OSError: sys.exit(7)\n"
    )
    status = subprocess.run([sys.executable, "-S", "-c", program, path], check=False).returncode
    assert status in (0, 7)
    return status == 0


@EVERY_ENGINE
def test_another_user_cannot_connect_to_a_worker(house: Server) -> None:
    path = running(house)[OTHER]["socket"]
    assert len(os.fsencode(path)) < 100
    folder = Path(path).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert Path(path).stat().st_mode & 0o077 == 0
    assert worker_json(path, "/health") == {"status": "ok"}
    if os.geteuid() == 0:
        assert not connects_as_nobody(path)


def test_a_socket_whose_folder_were_open_would_still_refuse_another_user(
    house: Server, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    path = Path(running(house)[OTHER]["socket"])
    path.parent.chmod(0o755)
    try:
        assert not connects_as_nobody(str(path))
    finally:
        path.parent.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as probe:  # the probe itself can tell: an open socket lets it in
        where = f"{tempfile.gettempdir()}/probe-{os.getpid()}.sock"
        probe.bind(where)
        probe.listen()
        Path(where).chmod(0o777)
        try:
            assert connects_as_nobody(where)
        finally:
            Path(where).unlink()


@pytest.fixture
def short_lived(models_dir: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of this test alone, with the model loaded."""
    with serving(tmp_path / "home", models_dir) as server:
        assert ask(server, "POST", "/api/generate", {"model": MODEL}).status == 200
        yield server


@EVERY_ENGINE
def test_no_worker_outlives_a_server_that_is_killed(short_lived: Server) -> None:
    row = running(short_lived)[MODEL]
    short_lived.process.kill()
    short_lived.process.wait()
    eventually(lambda: not is_alive(row["pid"]), 2, "the orphaned worker is gone")


@EVERY_ENGINE
def test_the_next_server_sweeps_the_socket_folder_of_one_that_was_killed(
    short_lived: Server, models_dir: Path, tmp_path: Path
) -> None:
    row = running(short_lived)[MODEL]
    short_lived.process.kill()
    short_lived.process.wait()
    eventually(lambda: not is_alive(row["pid"]), 2, "the orphaned worker is gone")
    assert Path(row["socket"]).parent.exists()
    with serving(tmp_path / "next", models_dir):
        assert not Path(row["socket"]).parent.exists()


@EVERY_ENGINE
def test_a_server_that_is_told_to_stop_finishes_its_streams_and_leaves_nothing(short_lived: Server) -> None:
    row = running(short_lived)[MODEL]
    body = {"model": MODEL, "prompt": "Why is the sky blue?", "options": GREEDY | {"num_predict": 30}}
    events = []
    with Streaming(short_lived, "/api/generate", body) as stream:
        for event in stream.events():
            events.append(event)
            if len(events) == 3:
                short_lived.process.send_signal(signal.SIGTERM)
    assert events[-1]["done"]
    assert len(events) > 10
    assert short_lived.process.wait(5) == 0
    assert not is_alive(row["pid"])
    assert not Path(row["socket"]).parent.exists()
    assert "Traceback" not in said(short_lived)
