"""What a server says of itself, as anybody may ask."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hutch.api.replies import REPLIES
from tests.conftest import Server, clean_environment
from tests.contract.live import ask, generate


@pytest.mark.parametrize("path", ["/api/health", "/healthz"])
def test_the_server_says_that_it_is_alive(server: Server, path: str) -> None:
    assert ask(server, "GET", path).json == {"status": "ok"}
    assert ask(server, "HEAD", path).status == 200


def test_the_server_says_that_it_is_ready(server: Server) -> None:
    assert ask(server, "GET", "/readyz").json == {"status": "ready"}


def test_the_root_says_what_clients_look_for(server: Server) -> None:
    assert ask(server, "GET", "/").body == b"Ollama is running"
    assert ask(server, "HEAD", "/").status == 200
    assert set(ask(server, "GET", "/api/version").json) == {"version", "hutch"}


def test_the_description_of_the_api_is_whole(server: Server) -> None:
    described = ask(server, "GET", "/openapi.json").json
    assert described["openapi"].startswith("3.")
    assert described["info"]["title"] == "Hutch"
    operations = [
        (path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    assert {"/api/chat", "/v1/chat/completions", "/api/blobs/{digest}"} <= set(described["paths"])
    assert all(operation["summary"] for _, _, operation in operations)
    rows = {re.sub(r":\w+}", "}", row) for row in REPLIES}
    assert {f"{method.upper()} {path}" for path, method, _ in operations} == rows
    names = [operation["operationId"] for _, _, operation in operations]
    chat = described["paths"]["/api/chat"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "messages", "options"} <= set(chat["properties"])
    assert names
    known = set(described.get("components", {}).get("schemas", {}))
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert wanted <= known


def test_the_page_of_the_api_loads_nothing_from_elsewhere(server: Server) -> None:
    page = ask(server, "GET", "/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(loaded) == 3
    assert not re.findall(rb"https?://", page.body)
    for path in loaded:
        assert path.startswith("/docs/")
        assert ask(server, "GET", path).status == 200
    assert ask(server, "GET", "/docs/../server.py").status == 404
    assert ask(server, "GET", "/docs/none.js").status == 404


def test_what_is_not_there_is_said_in_the_words_of_each_dialect(server: Server) -> None:
    assert ask(server, "GET", "/nowhere").body == b"404 page not found"
    assert ask(server, "GET", "/v1/nowhere").json["error"]["type"] == "not_found_error"
    assert ask(server, "GET", "/api/chat").status == 405
    assert ask(server, "PUT", "/v1/models").status == 405


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_clients_may_ask_for_the_head_alone(server: Server, path: str) -> None:
    reply = ask(server, "HEAD", path)
    assert (reply.status, reply.body) == (200, b"")


def test_there_is_no_cloud(server: Server) -> None:
    assert ask(server, "GET", "/api/status").json == {"cloud": {"disabled": True, "source": "config"}}
    for path in ("web_search", "web_fetch"):
        reply = ask(server, "POST", f"/api/experimental/{path}", {"query": "x"})
        assert (reply.status, reply.error.partition(":")[0]) == (403, "ollama cloud is disabled")
    reply = ask(server, "GET", "/api/experimental/model-recommendations")
    assert reply.json == {"recommendations": []}


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/me"), ("POST", "/api/signout"), ("DELETE", "/api/user/keys/c3No")]
)
@pytest.mark.parametrize("body", [None, b"\xff{", {}])
def test_there_are_no_accounts(server: Server, method: str, path: str, body: object) -> None:
    reply = ask(server, method, path, body)
    assert (reply.status, reply.error) == (404, "Hutch has no accounts, so nobody is signed in")
    assert "Bearer" in reply.json["hint"]


def test_the_log_of_more_has_requests_and_launches(serve: Callable[..., Server], models_dir: Path) -> None:
    server = serve(models_dir, DEBUG="1", MAX_VRAM="40MB", GPU_LAYERS="20", NUM_PARALLEL="1")
    assert generate(server).status == 200
    server.stop()
    log = (server.home / "serve.log").read_text()
    assert '"POST /api/generate HTTP/1.1" 200' in log
    (plan,) = re.findall(r"plan of smollm2:135m: LaunchPlan\((.*)\)", log)
    assert "num_gpu=20, " in plan
    (num_layers,) = re.findall(r"max_gpu_layers=(\d+)", plan)
    assert 0 < int(num_layers) < 20  # what 40 MB hold of the model's thirty blocks


def test_commands_note_the_settings_that_the_server_does_not_have(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir, NUM_PARALLEL="2")

    def note(**settings: str) -> str:
        own = {"HUTCH_HOME": str(server.home), "HUTCH_HOST": server.url, "HUTCH_MODELS": str(models_dir)}
        done = subprocess.run(
            [sys.executable, "-m", "hutch", "list"],
            env=clean_environment(**own, **settings),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr

    assert note(HUTCH_NUM_PARALLEL="2") == ""
    told = "note: HUTCH_NUM_PARALLEL: the settings of the running server count, not these\n"
    assert note(HUTCH_NUM_PARALLEL="3") == told
    server.stop()
    assert not list((server.home / "servers").iterdir())
