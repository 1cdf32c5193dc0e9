"""What a real server counts, scraped by hand and by a real Prometheus. It needs Debian's package `prometheus`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import EVERY_ENGINE, MODEL, Server, clean_environment, free_port
from tests.contract.live import ask, eventually, running, said, serving

SCRAPE_CONFIG = Path(str(files("hutch.metrics").joinpath("prometheus.yml")))


def scraped(server: Server, path: str = "/metrics") -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    text = ask(server, "GET", path).body.decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def chat(server: Server, **fields: Any) -> Any:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, **fields}
    return server.post("/v1/chat/completions", {"temperature": 0, **body})


@pytest.fixture
def house(serve: Callable[..., Server], models_dir: Path) -> Server:
    """A server whose counts are the test's own."""
    return serve(models_dir)


@EVERY_ENGINE
def test_a_scrape_tells_what_was_done(house: Server) -> None:
    status, reply = chat(house)
    assert status == 200
    chat(house, stream=True)
    chat(house, model="nosuch")
    usage = reply["usage"]
    found = scraped(house)
    route = "/v1/chat/completions"
    assert found["hutch_http_requests_total", *sorted(("POST", route, "2xx"))] == 2
    assert found["hutch_http_requests_total", *sorted(("POST", route, "4xx"))] == 1
    assert found["hutch_http_errors_total", *sorted((route, "not_found"))] == 1
    assert found["hutch_prompt_tokens_total", *sorted((MODEL, "generate"))] == 2 * usage["prompt_tokens"]
    assert found["hutch_generated_tokens_total", MODEL] == 2 * usage["completion_tokens"]
    assert found["hutch_first_token_seconds_count", MODEL] == 2
    assert found["hutch_answer_seconds_count", MODEL] == 2
    assert 0 < found["hutch_first_token_seconds_sum", MODEL] <= found["hutch_answer_seconds_sum", MODEL]
    assert found["hutch_model_load_seconds_count", MODEL] == 1
    assert found["hutch_slots", MODEL] == 4
    assert found["hutch_slots_busy", MODEL] == 0
    # of the second answer all but the last token stays in the slot, at least
    assert found["hutch_kv_cache_tokens", MODEL] >= usage["prompt_tokens"]
    assert found["hutch_kv_cache_capacity_tokens", MODEL] == 4 * 4096
    assert found["hutch_worker_memory_bytes", MODEL] > 1 << 20
    assert found["hutch_worker_cpu_seconds_total", MODEL] > 0
    assert found["process_resident_memory_bytes",] > 1 << 20
    assert scraped(house, "/api/metrics").keys() >= found.keys()


@EVERY_ENGINE
def test_a_worker_that_is_killed_counts_and_so_does_the_answer_that_it_broke_off(house: Server) -> None:
    chat(house)
    os.kill(running(house)[MODEL]["pid"], signal.SIGKILL)
    eventually(lambda: scraped(house).get(("hutch_worker_restarts_total", MODEL)) == 1, 10, "it is counted")
    chat(house)
    assert scraped(house)["hutch_answers_total", *sorted((MODEL, "length"))] == 2


def test_what_waits_is_told_while_it_waits(serve: Callable[..., Server], models_dir: Path) -> None:
    house = serve(models_dir, NUM_PARALLEL="1")
    chat(house)
    body = json.dumps(
        {"model": MODEL, "prompt": "Once", "raw": True, "options": {"num_predict": 2000, "temperature": 0}}
    ).encode()
    with urllib.request.urlopen(house.url + "/api/generate", body, timeout=60) as first:
        first.readline()
        waiting = subprocess.Popen(
            ["curl", "-s", "-d", body.decode(), house.url + "/api/generate"], stdout=subprocess.DEVNULL
        )
        try:
            eventually(lambda: scraped(house)["hutch_requests_queued", MODEL] == 1, 10, "one waits")
            found = scraped(house)
            assert found["hutch_slots_busy", MODEL] == 1
            assert found["hutch_http_requests_open",] >= 3
        finally:
            waiting.kill()
            waiting.wait(5)
    eventually(
        lambda: scraped(house).get(("hutch_answers_total", *sorted((MODEL, "cancelled")))) == 2,
        10,
        "both left",
    )


def test_promtool_likes_the_names(house: Server) -> None:
    chat(house)
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=ask(house, "GET", "/metrics").body,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_scrape_file_is_one_that_prometheus_accepts(tmp_path: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "hutch", "metrics", "--scrape-config"],
        env=clean_environment(HUTCH_HOME=str(tmp_path)),
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed == SCRAPE_CONFIG.read_bytes()
    assert b"localhost:11434" in printed
    assert b"localhost:8080" in printed
    for text in (printed, re.sub(rb"# (authorization|  credentials_file)", rb"\1", printed)):
        key = tmp_path / "hutch.key"
        key.write_text("x")
        (tmp_path / "prometheus.yml").write_bytes(text.replace(b"/etc/prometheus", bytes(tmp_path)))
        done = subprocess.run(
            ["promtool", "check", "config", tmp_path / "prometheus.yml"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


@pytest.fixture
def exposed(models_dir: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that listens on every interface, and so asks for a key."""
    with serving(tmp_path / "home", models_dir, host="0.0.0.0") as server:
        yield server


def test_prometheus_scrapes_both_jobs_with_the_key(exposed: Server, tmp_path: Path) -> None:
    for path in ("/metrics", "/api/metrics"):
        assert ask(exposed, "GET", path).status == 401
    [key] = re.findall(r"hutch-[\w-]{40,}", said(exposed))
    (tmp_path / "hutch.key").write_text(key)
    status, _ = exposed.post(
        "/api/generate",
        {"model": MODEL, "prompt": "Hi", "stream": False, "options": {"num_predict": 3}},
        {"Authorization": f"Bearer {key}"},
    )
    assert status == 200
    target = urllib.parse.urlsplit(exposed.url).port
    text = re.sub(r"# (authorization|  credentials_file)", r"\1", SCRAPE_CONFIG.read_text())
    text = re.sub(r"localhost:\d+", f"127.0.0.1:{target}", text).replace("/etc/prometheus", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text.replace("15s", "1s"))
    at = f"127.0.0.1:{free_port()}"
    log = (tmp_path / "prometheus.log").open("wb")
    prometheus = subprocess.Popen(
        [
            shutil.which("prometheus") or "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address={at}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    log.close()

    def query(what: str) -> dict[str, float]:
        url = f"http://{at}/api/v1/query?query={urllib.parse.quote(what)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                found = json.load(reply)["data"]["result"]
        except OSError:
            return {}
        return {row["metric"].get("job", ""): float(row["value"][1]) for row in found}

    try:
        both = {"ollama": 1.0, "foundry-local": 1.0}
        eventually(lambda: query("up") == both, 30, "both jobs are up")
        told = {"ollama": 3.0, "foundry-local": 3.0}
        eventually(lambda: query("hutch_generated_tokens_total") == told, 30, "the tokens are there")
        quantile = "histogram_quantile(0.5, sum by (le, job) (hutch_first_token_seconds_bucket))"
        assert all(value > 0 for value in query(quantile).values())
    finally:
        prometheus.send_signal(signal.SIGTERM)
        prometheus.wait(20)


def test_the_command_prints_what_the_server_tells(house: Server, tmp_path: Path) -> None:
    def hutch(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hutch", "metrics"],
            env=clean_environment(HUTCH_HOME=str(tmp_path), HUTCH_HOST=url),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    done = hutch(house.url)
    assert done.returncode == 0
    assert "hutch_build_info{version=" in done.stdout
    away = hutch(f"http://127.0.0.1:{free_port()}")
    assert (away.returncode, away.stdout) == (10, "")
