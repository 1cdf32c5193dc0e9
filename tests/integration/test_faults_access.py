"""Who is let in: pages of other sites, other hosts' names, and everybody once the server listens to the network."""

import json
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.contract.live import Reply, ask, said, serving

EVIL = "https://evil.example"
OPEN_TO_ALL = ("/api/health", "/healthz", "/readyz")


@pytest.mark.parametrize("path", ["/", "/api/tags", "/api/health", "/v1/models", "/docs", "/openapi.json"])
def test_a_page_of_another_site_is_refused(server: Server, path: str) -> None:
    assert ask(server, "GET", path, headers={"Origin": EVIL}).status == 403


@pytest.mark.parametrize("path", ["/", "/api/tags", "/api/health", "/nowhere"])
def test_a_name_that_somebody_else_resolves_to_this_machine_is_refused(server: Server, path: str) -> None:
    reply = ask(server, "GET", path, headers={"Host": "evil.example:11434"})
    assert reply.status == 403
    assert reply.body.startswith(b"Host not allowed")


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "app://obsidian.md"])
def test_a_page_of_this_machine_may_ask_and_read_the_answer(server: Server, origin: str) -> None:
    reply = ask(server, "GET", "/api/tags", headers={"Origin": origin})
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] == origin


def preflight(server: Server, origin: str) -> Reply:
    """What a browser asks before it lets a page send JSON with a key."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    return ask(server, "OPTIONS", "/api/chat", headers={"Origin": origin, **asked})


def test_a_browsers_question_beforehand_is_answered_for_a_local_page_alone(server: Server) -> None:
    local = preflight(server, "http://localhost:5173")
    assert (local.status, local.body) == (204, b"")
    assert ask(server, "OPTIONS", "/api/chat").status == 204
    assert "authorization" in local.headers["Access-Control-Allow-Headers"].lower()
    assert preflight(server, EVIL).status == 403


@pytest.fixture(scope="module")
def exposed(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that listens on every interface."""
    with serving(tmp_path_factory.mktemp("exposed") / "home", models_dir, host="0.0.0.0") as server:
        yield server


def key_of(server: Server) -> str:
    """The key that the server showed."""
    [key] = re.findall(r"hutch-[\w-]{40,}", said(server))
    return str(key)


def test_a_server_on_the_network_answers_nothing_without_the_key(exposed: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {key_of(exposed)}"}):
        for method, path in (
            ("GET", "/api/tags"),
            ("POST", "/api/chat"),
            ("GET", "/v1/models"),
            ("GET", "/docs"),
        ):
            reply = ask(exposed, method, path, headers=headers)
            assert reply.status == 401, path
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            assert reply.error
            assert key_of(exposed) not in reply.body.decode()


def test_a_server_on_the_network_reads_no_body_of_a_stranger(exposed: Server) -> None:
    assert ask(exposed, "POST", "/api/generate", b"{" * 5000).status == 401
    assert ask(exposed, "POST", "/api/blobs/sha256:" + "0" * 64, b"x" * 5000).status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_server_on_the_network_answers_who_has_the_key(exposed: Server, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {key_of(exposed)}"}
    assert ask(exposed, "GET", "/api/tags", headers=headers).status == 200
    assert ask(exposed, "GET", "/v1/models", headers=headers).status == 200


@pytest.mark.parametrize("path", OPEN_TO_ALL)
def test_a_server_on_the_network_tells_everybody_that_it_is_well(exposed: Server, path: str) -> None:
    assert ask(exposed, "GET", path).status == 200


def test_the_key_is_kept_as_a_digest_in_a_file_for_its_owner_alone(exposed: Server) -> None:
    file = exposed.home / "keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key_of(exposed) not in file.read_text(encoding="utf-8")
    assert [each["name"] for each in json.loads(file.read_text(encoding="utf-8"))["keys"]] == ["first"]


def test_the_key_is_shown_once_and_still_opens_the_next_server(models_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", models_dir, host="0.0.0.0") as first:
        key = key_of(first)
    with serving(tmp_path / "home", models_dir, host="0.0.0.0") as second:
        assert said(second).count(key) == 1
        assert ask(second, "GET", "/api/tags", headers={"Authorization": f"Bearer {key}"}).status == 200
        assert ask(second, "GET", "/api/tags").status == 401


def test_a_server_told_so_is_open_to_all_and_says_it(models_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", models_dir, host="0.0.0.0", AUTH="none") as server:
        assert ask(server, "GET", "/api/tags").status == 200
        assert "HUTCH_AUTH is none" in said(server)
        assert not (server.home / "keys.json").exists()
        assert ask(server, "GET", "/api/tags", headers={"Origin": EVIL}).status == 403


def test_named_origins_may_ask(serve: Callable[..., Server], models_dir: Path) -> None:
    server = serve(models_dir, ORIGINS="https://chat.example,https://*.team.example")
    for origin, status in (
        ("https://chat.example", 200),
        ("https://a.team.example", 200),
        ("https://chat.example.evil.example", 403),
        ("https://chatXexample", 403),
        ("null", 403),
    ):
        assert ask(server, "GET", "/api/tags", headers={"Origin": origin}).status == status, origin
