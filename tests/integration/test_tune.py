"""`hutch tune` with the real model, and servers that use what it found."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.engines.protocol import LaunchPlan
from hutch.formats import headers
from hutch.runtime import tuned
from hutch.runtime.launch import launch_plan
from hutch.runtime.tuned import Finding, Values
from tests.conftest import MODEL, Server, clean_environment, free_port, weights_in
from tests.contract.live import ask, running
from tests.unit.runtime.things import model

VALUES = Values(num_thread=1, num_ubatch=128, flash_attention=False, repack=False)


def tune(home: Path, models: Path, *words: str) -> tuple[dict[str, Any], str]:
    """What `hutch tune` prints as JSON, and on stderr."""
    settings = {
        "HUTCH_HOME": str(home),
        "HUTCH_MODELS": str(models),
        "HUTCH_HOST": f"127.0.0.1:{free_port()}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "hutch", "tune", *words, "--json"],
        env=clean_environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["models"]
    return found, done.stderr


def kept(home: Path, models: Path) -> Path:
    """Where the findings for the model lie."""
    return tuned.place(home / "tuned", headers.header(weights_in(models)))


def test_a_model_is_tuned_in_the_time_that_there_is(models_dir: Path, tmp_path: Path) -> None:
    found, told = tune(tmp_path, models_dir, MODEL, "--seconds", "8")
    assert "tuning smollm2:135m" in told
    assert (found["model"], found["already"]) == (MODEL, False)
    assert all(set(each["values"]) <= set(Values._fields) for each in found["trials"])
    assert found["gain"] >= 1.0
    (finding,) = tuned.read(kept(tmp_path, models_dir))
    assert (finding.values.said, finding.model) == (found["values"], MODEL)
    assert not list((tmp_path / "tuned").glob(".*.json.*"))


def plan(models: Path) -> LaunchPlan:
    """As a server without settings would launch the model."""
    return launch_plan(model(), headers.header(weights_in(models)), LoadOptions(), Settings())


def test_what_was_tuned_is_not_measured_again(models_dir: Path, tmp_path: Path) -> None:
    finding = Finding(tuned.conditions(plan(models_dir)), VALUES, MODEL, 1.5, True, "2026")
    tuned.keep(kept(tmp_path, models_dir), finding)
    found, _ = tune(tmp_path, models_dir, MODEL)
    assert (found["already"], found["values"]) == (True, VALUES.said)
    found, _ = tune(tmp_path, models_dir)  # all that there are
    assert found["already"]


def logged(server: Server) -> str:
    return (server.home / "serve.log").read_text()


def load(server: Server) -> dict[str, Any]:
    body = {"model": MODEL, "prompt": "Say hi.", "stream": False, "options": {"num_predict": 2}}
    reply = ask(server, "POST", "/api/generate", body)
    assert reply.status == 200, reply.body
    row: dict[str, Any] = running(server)[MODEL]
    return row


@pytest.fixture
def fresh(serve: Callable[..., Server], models_dir: Path) -> Server:
    """A server that was told nothing of threads."""
    return serve(models_dir, NUM_THREAD="0")


def test_a_server_uses_what_was_tuned_and_says_so(fresh: Server, models_dir: Path) -> None:
    finding = Finding(tuned.conditions(plan(models_dir)), VALUES, MODEL, 1.5, True, "2026")
    tuned.keep(kept(fresh.home, models_dir), finding)
    assert load(fresh)["tuned"] == VALUES.said
    assert "smollm2:135m has tuned values" in logged(fresh)
    embed = {"model": MODEL, "input": "word " * 300}  # more than is computed at once
    assert ask(fresh, "POST", "/api/embed", embed).status == 200


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "is damaged"), ("", "tuned for another engine, which is not used: run `hutch tune smollm2:135m`")],
)
def test_a_server_passes_over_what_is_damaged_or_of_another_engine(
    fresh: Server, models_dir: Path, text: str, told: str
) -> None:
    path = kept(fresh.home, models_dir)
    conditions = {**tuned.conditions(plan(models_dir)), "engine": "another"}
    tuned.keep(path, Finding(conditions, VALUES, MODEL, 1.5, True, "2026"))
    if text:
        path.write_text(text)
    assert "tuned" not in load(fresh)
    assert logged(fresh).count(told) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_is_tried_within_two_minutes(models_dir: Path, tmp_path: Path) -> None:
    found, _ = tune(tmp_path, models_dir, MODEL)
    assert found["complete"]
    assert found["trials"]
    assert (found["gain"] > 1.0) == bool(found["values"])
