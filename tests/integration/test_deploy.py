"""Deployments: applied, refused, rolled back, and there again after a restart."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server, clean_environment, free_port, wait_until_ready
from tests.onnx_files import Shape, write_llama

Document = dict[str, Any]
FLOATS = "floats:latest"


@dataclass
class Site:
    """A server, and the folder with its deployment file."""

    server: Server
    folder: Path
    port: int

    def hutch(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the server."""
        return subprocess.run(
            [sys.executable, "-m", "hutch", *words],
            env=self.environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def environment(self) -> dict[str, str]:
        """The environment of that command."""
        models = str(self.folder / "models")
        return clean_environment(
            HUTCH_HOST=self.server.url, HUTCH_HOME=str(self.server.home), HUTCH_MODELS=models
        )

    def write(self, *, name: str = "production.json", **said: Any) -> None:
        """Write a deployment file; `api`, `optimization` … go into `deployment`."""
        performance = said.pop("performance", None)
        deployment = {"model": MODEL, "api": {"port": self.port}} | said
        document: Document = {"deployment": deployment} | (
            {"performance": performance} if performance else {}
        )
        (self.folder / name).write_text(json.dumps(document, indent=2))

    def deploy(self, *flags: str, **said: Any) -> subprocess.CompletedProcess[str]:
        """Write the file, and apply it."""
        self.write(**said)
        return self.hutch("deploy", "--config", "production.json", *flags)

    def ask(self, path: str, body: Document | None = None) -> tuple[int, Any]:
        """Ask at the deployment's port."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def running(self) -> Document:
        """The loaded model, once what was loaded before it has gone."""
        deadline = time.monotonic() + 10
        while len(rows := self.server.get("/api/ps")["models"]) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        (row,) = rows
        return dict(row)


@pytest.fixture
def site(serve: Callable[..., Server], models_dir: Path, tmp_path: Path) -> Iterator[Site]:
    """A site of the test's own."""
    shutil.copytree(
        models_dir, tmp_path / "models", copy_function=os.link, ignore=shutil.ignore_patterns(".loaded")
    )
    made = Site(serve(tmp_path / "models"), tmp_path, free_port())
    yield made
    made.server.stop()


def say(text: str = "Hi", **more: Any) -> Document:
    return {"model": MODEL, "prompt": text, "stream": False, "options": {"num_predict": 4} | more}


@EVERY_ENGINE
def test_a_deployment_is_applied_once_and_serves_both_ports(site: Site) -> None:
    looked = site.deploy("--dry-run", optimization={"max_context": 512, "batch_size": 2})
    assert looked.returncode == 0, looked.stderr
    assert "deployment.optimization.batch_size" in looked.stdout
    assert looked.stdout.endswith("nothing was changed\n")
    assert site.server.get("/api/deployments") == {"deployments": []}

    done = site.deploy("--json", optimization={"max_context": 512, "batch_size": 2})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["applied"] is True
    row = site.running()
    assert (row["slots"], row["context_length"]) == (2, 512)
    assert row["expires_at"].startswith("9999")
    assert site.ask("/v1/models")[0] == 200
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    assert site.ask("/v1/chat/completions", chat)[0] == 200
    assert site.server.post("/api/generate", say())[0] == 200
    # What requests say changes nothing of it, and keeps it loaded.
    assert site.ask("/api/generate", say(num_ctx=4096) | {"keep_alive": 0})[0] == 200
    assert site.running()["pid"] == row["pid"]
    assert site.running()["context_length"] == 512

    again = site.hutch("deploy", "--config", "production.json")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert site.running()["pid"] == row["pid"]


def test_a_port_may_speak_no_openai_and_a_deployment_can_be_undone(site: Site) -> None:
    assert site.deploy(optimization={"max_context": 512}).returncode == 0
    assert site.deploy(api={"port": site.port, "openai_compatible": False}).returncode == 0
    status, told = site.ask("/v1/models")
    assert status == 404
    assert "openai_compatible: false" in told["error"]["message"]
    assert site.ask("/v1/chat/completions", {"model": MODEL})[0] == 404
    assert site.ask("/api/tags")[0] == 200
    assert site.server.get("/v1/models")["data"]
    back = site.hutch("deploy", "rollback")
    assert back.returncode == 0, back.stderr
    assert site.ask("/v1/models")[0] == 200
    assert site.running()["context_length"] == 512

    gone = site.hutch("deploy", "remove", str(site.port))
    assert gone.returncode == 0, gone.stderr
    assert site.server.get("/api/ps")["models"] == []
    with pytest.raises(OSError, match="refused"):
        site.ask("/api/tags")
    assert site.hutch("deploy", "remove", str(site.port)).returncode == 4


def test_what_does_not_become_ready_is_rolled_back(site: Site) -> None:
    first = site.deploy(performance={"memory_optimization": {"max_cache_size": "1MB"}})
    assert first.returncode == 5
    assert "1,000,000 bytes do not hold one context" in first.stderr
    assert "Nothing is served there." in first.stderr
    with pytest.raises(OSError, match="refused"):
        site.ask("/api/tags")
    assert site.server.get("/api/deployments") == {"deployments": []}

    assert site.deploy(optimization={"max_context": 512}).returncode == 0
    second = site.deploy(hardware={"preferred": "npu"})  # without cpu among the fallbacks
    assert second.returncode == 5, second.stderr
    assert "no device for hardware 'npu'" in second.stderr
    assert "is served as before" in second.stderr
    assert site.ask("/api/generate", say())[0] == 200
    assert site.running()["context_length"] == 512
    (row,) = site.server.get("/api/deployments")["deployments"]
    assert row["document"]["deployment"]["optimization"]["max_context"] == 512
    assert row["state"] == "ready"


def test_a_deployment_survives_the_server(site: Site, serve: Callable[..., Server]) -> None:
    assert site.deploy(optimization={"max_context": 512}).returncode == 0
    site.server.process.send_signal(signal.SIGKILL)
    site.server.process.wait(20)
    listed = site.hutch("deploy", "list", "--json")  # from what is on record
    assert json.loads(listed.stdout)["deployments"][0]["state"] == "stopped"
    site.server = serve(site.folder / "models", HOME=str(site.server.home))
    _await_ready(site.server)
    assert site.ask("/api/generate", say())[0] == 200
    assert site.running()["context_length"] == 512


def _await_ready(server: Server) -> None:
    wait_until_ready(server)
    deadline = time.monotonic() + 30
    while not _is_ready(server):
        assert time.monotonic() < deadline, (server.home / "serve.log").read_text()
        time.sleep(0.1)


def _is_ready(server: Server) -> bool:
    try:
        return bool(server.get("/readyz") == {"status": "ready"})
    except urllib.error.HTTPError as error:
        return error.code != 503


def test_one_whose_port_is_taken_after_a_restart_is_told(site: Site, serve: Callable[..., Server]) -> None:
    assert site.deploy().returncode == 0
    site.server.stop()
    with socket.create_server(("127.0.0.1", site.port)):
        site.server = serve(site.folder / "models", HOME=str(site.server.home))
        deadline = time.monotonic() + 20
        while (row := site.server.get("/api/deployments")["deployments"][0])["state"] != "failed":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "cannot listen" in row["problem"]
        with pytest.raises(urllib.error.HTTPError, match="503") as unready:
            site.server.get("/readyz")
        told = unready.value.read().decode()
        assert (
            "deployments are not ready" in told
        )  # to everybody; what they are is for those who may see them
        assert str(site.port) not in told
    again = site.hutch("deploy", "--config", "production.json")
    assert again.returncode == 0, again.stderr
    assert site.server.get("/readyz") == {"status": "ready"}


def test_a_taken_port_and_an_absent_model_change_nothing(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port)):
        done = site.deploy()
        assert done.returncode == 5
        assert f"cannot listen on http://127.0.0.1:{site.port}" in done.stderr
    missing = site.deploy(model="microsoft/nosuch")
    assert missing.returncode == 4
    assert "hutch models pull microsoft/nosuch:latest" in missing.stderr
    assert site.server.get("/api/ps")["models"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"deployment": {"model": "m", "api": {"port": 80', "production.json:1: no JSON"),
        (
            '{"deployment": {"model": "m"}, "perfomance": {}}',
            "perfomance: unknown key; did you mean 'performance'?",
        ),
        ("[1]", "holds no JSON object"),
        ('{"performance": {}}', "there is not exactly one to change"),
        ('{"deployment": {"model": "m", "model": "n"}}', "the key 'model' is there twice"),
    ],
)
def test_a_wrong_file_is_refused_by_line(site: Site, text: str, message: str) -> None:
    (site.folder / "production.json").write_text(text)
    done = site.hutch("deploy", "--config", "production.json")
    assert done.returncode == 2
    assert message in done.stderr


def test_of_two_deploys_at_once_one_waits_for_nobody(site: Site) -> None:
    assert site.deploy(optimization={"max_context": 8192, "batch_size": 1}).returncode == 0
    asked: Document = {"model": MODEL, "prompt": "Hi", "stream": True, "max_tokens": 8000}
    asked["logit_bias"] = {"2": -100}  # it may not say that it is done
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}/v1/completions",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    answer = urllib.request.urlopen(request, timeout=60)
    assert answer.readline()  # while it is read, a load under other terms waits
    site.write(optimization={"max_context": 1024})
    first = subprocess.Popen(
        [sys.executable, "-m", "hutch", "deploy", "--config", "production.json"],
        env=site.environment(),
        cwd=site.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr is not None
    assert first.stderr.readline().startswith("loading")
    site.write(name="other.json", optimization={"max_context": 2048})
    second = site.hutch("deploy", "--config", "other.json")
    assert second.returncode == 5
    assert "another deployment is being changed" in second.stderr
    answer.close()
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert site.running()["context_length"] == 1024
    assert site.ask("/api/generate", say())[0] == 200


def test_a_deploy_that_is_killed_leaves_what_was_there(site: Site) -> None:
    assert site.deploy(optimization={"max_context": 512}).returncode == 0
    site.write(optimization={"max_context": 1024})
    half = subprocess.Popen(
        [sys.executable, "-m", "hutch", "deploy", "--config", "production.json"],
        env=site.environment(),
        cwd=site.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert half.stderr is not None
    assert half.stderr.readline().startswith("loading")
    half.kill()
    half.communicate(timeout=10)
    deadline = time.monotonic() + 30
    while True:  # until the server has noticed
        (row,) = site.server.get("/api/deployments")["deployments"]
        loaded = site.server.get("/api/ps")["models"]
        if loaded and loaded[0]["context_length"] == 512 and loaded[0]["state"] == "ready":
            break
        assert time.monotonic() < deadline, (row, loaded)
        time.sleep(0.2)
    assert row["document"]["deployment"]["optimization"]["max_context"] == 512
    assert site.ask("/api/generate", say())[0] == 200


@EVERY_ENGINE
def test_without_the_cache_no_prefix_is_used_again(site: Site) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 8
    chat = {"model": MODEL, "messages": [{"role": "user", "content": long}], "max_tokens": 2}

    def cached() -> int:
        site.ask("/v1/chat/completions", chat)
        _, told = site.ask("/v1/chat/completions", chat)
        return int((told["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0)

    one = {"optimization": {"max_context": 1024, "batch_size": 1}}
    assert site.deploy(**one).returncode == 0
    assert cached() > 20
    memory = {"memory_optimization": {"enable_kv_cache": False}}
    assert site.deploy(**one, performance=memory).returncode == 0
    assert cached() == 0


def test_batches(site: Site) -> None:
    """Without batches one request is in work at a time; with static ones those that wait begin together."""
    assert site.deploy(performance={"batch_processing": False}).returncode == 0
    assert site.running()["slots"] == 1
    performance = {
        "parallel_requests": 4,
        "hardware_scheduling": {"enable_dynamic_batching": False, "max_batch_size": 2},
    }
    assert site.deploy(performance=performance, optimization={"batch_size": 2}).returncode == 0
    assert site.running()["slots"] == 2
    threads = [
        threading.Thread(target=site.ask, args=("/api/generate", say(num_predict=60, seed=1) | {"raw": True}))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    seen = set()
    while any(thread.is_alive() for thread in threads):
        row = site.running()
        seen.add((row["busy"], row["queued"]))
        time.sleep(0.02)
    assert (1, 2) in seen  # a slot was free, and yet the others waited for the batch to end
    assert (2, 0) in seen  # and then began together


@pytest.mark.parametrize("models_dir", ["onnx"], indirect=True)
def test_a_model_in_floats_is_quantised_and_served_under_its_name(site: Site) -> None:
    said: Document = {
        "hardware": {"preferred": "npu", "fallback": ["cpu"]},
        "optimization": {"quantization": "dynamic", "max_context": 512},
    }
    write_llama(site.folder / "llama", Shape(context=8192))
    (site.folder / "Modelfile").write_text("FROM ./llama\n")
    assert site.hutch("create", FLOATS, "-f", "Modelfile").returncode == 0
    assert site.deploy(model=FLOATS, optimization={"max_context": 512}).returncode == 0
    done = site.deploy(model=FLOATS, **said)  # and the model itself is let go: `running` finds one
    assert done.returncode == 0, done.stderr
    assert f"quantization: {FLOATS}-dynamic-int8, made of {FLOATS}" in done.stdout
    assert "not on npu: this machine shows no NPU" in done.stdout
    row = site.running()
    assert (row["name"], row["details"]["quantization_level"]) == (f"{FLOATS}-dynamic-int8", "int8")
    assert site.ask("/api/generate", say() | {"model": FLOATS})[0] == 200  # under its own name
    assert site.running()["pid"] == row["pid"]
    again = site.hutch("deploy", "--config", "production.json")
    assert "nothing to do: it is served" in again.stdout
    counted = urllib.request.urlopen(f"{site.server.url}/metrics", timeout=10).read().decode()
    assert f'hutch_generated_tokens_total{{model="{FLOATS}-dynamic-int8"}}' in counted
    assert 'model="other"' not in counted
    assert site.deploy(model=FLOATS, optimization={"max_context": 512}).returncode == 0
    assert site.running()["name"] == FLOATS
    assert site.deploy(model=FLOATS, **said).returncode == 0
    assert site.hutch("cp", f"{FLOATS}-dynamic-int8", "copy").returncode == 0
    quantised = site.deploy(model="copy", **said)
    assert "quantization: nothing to do: copy:latest is in int8 already" in quantised.stdout
    gone = site.hutch("rm", "copy")
    assert gone.returncode == 0
    (row,) = site.server.get("/api/deployments")["deployments"]
    assert (row["state"], row["problem"]) == ("failed", "model 'copy' not found")


def test_clients_of_the_api_get_the_reason(site: Site) -> None:
    url = f"{site.server.url}/api/deployments/{site.port}"

    def put(body: Document, at: str = url) -> tuple[int, Any]:
        request = urllib.request.Request(at, json.dumps(body).encode(), method="PUT")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    api = {"port": site.port}
    assert (
        put(
            {"deployment": {"model": MODEL, "api": api}, "stream": False},
            f"{site.server.url}/api/deployments/x",
        )[0]
        == 400
    )
    assert put({"deployment": {"model": MODEL}, "stream": False})[0] == 400  # another port
    assert put({"deployment": {"model": MODEL, "api": api, "x": 1}, "stream": False})[0] == 400
    assert put({"deployment": {"model": "nosuch", "api": api}, "stream": False})[0] == 404
    performance = {"memory_optimization": {"max_cache_size": 5}}
    body = {"deployment": {"model": MODEL, "api": api}, "performance": performance, "stream": False}
    status, told = put(body)
    assert (status, told["code"]) == (409, "rolled_back")


def test_foundry_model_is_served_on_a_port_of_its_own(site: Site, serve: Callable[..., Server]) -> None:
    home = site.folder / "home"
    server = serve(
        site.folder / "models",
        HOME=str(home),
        PRELOAD=MODEL,
        PRELOAD_PORT=str(site.port),
        HARDWARE="npu,gpu,cpu",
    )
    _await_ready(server)
    (row,) = server.get("/api/ps")["models"]
    assert row["expires_at"].startswith("9999")
    assert site.ask("/v1/models")[0] == 200
    (deployed,) = server.get("/api/deployments")["deployments"]
    assert (deployed["state"], deployed["recorded"]) == ("ready", False)
    assert deployed["document"]["deployment"]["hardware"] == {"preferred": "npu", "fallback": ["gpu", "cpu"]}
    assert not (home / "deployments").exists()
    server.stop()


def test_slots_in_batches_begin_together() -> None:
    """The rule alone, without a model."""
    from hutch.core.access import Principal  # noqa: PLC0415
    from hutch.runtime.slots import SlotPool  # noqa: PLC0415

    async def go() -> list[str]:
        pool, said = SlotPool(2, 10, in_batches=True), []

        async def work(name: str, lasts_s: float) -> None:
            async with pool.lease(Principal("p"), ""):
                said.append(f"{name} begins")
                await asyncio.sleep(lasts_s)
                said.append(f"{name} ends")

        await asyncio.gather(work("a", 0.05), work("b", 0.01), work("c", 0.05), work("d", 0.01))
        return said

    said = asyncio.run(go())
    assert said[:2] == ["a begins", "a ends"]
    assert said[2:4] == ["b begins", "c begins"]
    assert said[4:] == ["b ends", "c ends", "d begins", "d ends"]
