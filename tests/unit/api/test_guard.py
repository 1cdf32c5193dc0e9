"""The guard against web pages."""

import asyncio
import re
import socket

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from hutch.api.guard import Guard, origin_pattern
from tests.unit.api.asgi import Reply, ask, scope

EXTRA = ("https://chat.example.com", "http://*.lan:8080", "x.y")


def status(*, check_host: bool = True, extra: tuple[str, ...] = EXTRA, **headers: str) -> int:
    app = Guard(PlainTextResponse("in"), origins=origin_pattern(extra), check_host=check_host)
    return asyncio.run(ask(app, scope("/", headers, "GET"))).status


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:11434", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1:11434", "127.9.9.9:5", "0.0.0.0:11434",
        "[::1]", "[::1]:11434", "192.168.1.5:11434", "10.0.0.1", "172.16.0.1", "mine.local", "mine.local:80", "api.localhost",
        "host.docker.internal:11434", socket.gethostname(), f"{socket.gethostname().upper()}:11434",
    ],
)  # fmt: skip
def test_a_host_of_this_machine_or_its_network_is_let_in(host: str) -> None:
    assert status(host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.com", "evil.com:11434", "localhost.evil.com", "127.0.0.1.evil.com", "127.0.0.1.nip.io:11434", "8.8.8.8", "[2001:4860::1]",
        "notlocalhost", "local", "internal", "evil.com#localhost", "evil.com/localhost", "localhost@evil.com", "[::1", "::1]", "local host",
        "evil.com?.local", "0x7f000001", "2130706433",
    ],
)  # fmt: skip
def test_a_foreign_host_is_refused_on_a_loopback_server_alone(host: str) -> None:
    assert status(host=host) == 403
    assert status(host=host, check_host=False) == 200


def test_a_request_without_a_host_is_refused_on_a_loopback_server() -> None:
    assert status() == 403
    assert status(check_host=False) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost", "https://localhost", "http://localhost:3000", "http://127.0.0.1:8080", "https://0.0.0.0:1", "http://[::1]:5173",
        "app://obsidian.md", "file://", "file:///home/me/x.html", "tauri://localhost", "vscode-webview://abc", "vscode-file://vscode-app",
        "https://chat.example.com", "http://a.lan:8080", "http://a.b.lan:8080", "x.y",
    ],
)  # fmt: skip
def test_local_pages_applications_and_named_origins_may_call(origin: str) -> None:
    assert status(host="localhost", origin=origin) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null", "https://evil.com", "http://localhost.evil.com", "http://localhost:3000.evil.com", "http://evil.com/http://localhost",
        "http://127.0.0.1.evil.com", "http://127.0.0.1:80@evil.com", "http://localhost:", "http://localhost:x", "ftp://localhost",
        "https://chat.example.com.evil.com", "http://chat.example.com", "https://chatXexample.com", "https://chat.example.com:8443",
        "http://lan:8080", "http://a.lan", "xxy", "http://LOCALHOST.evil", "http://localhost ", "http://192.168.1.5",
    ],
)  # fmt: skip
@pytest.mark.parametrize("check_host", [True, False])
def test_foreign_origins_are_refused_on_every_server(origin: str, check_host: bool) -> None:
    assert status(host="localhost", origin=origin, check_host=check_host) == 403


def test_a_star_lets_every_origin_in() -> None:
    assert status(host="localhost", origin="https://evil.com", extra=("*",)) == 200


def test_a_refusal_says_what_to_look_at() -> None:
    app = Guard(PlainTextResponse("in"), origins=origin_pattern(()), check_host=True)
    reply = asyncio.run(ask(app, scope("/", {"host": "evil.com"})))
    assert b"Host not allowed" in reply.body
    reply = asyncio.run(ask(app, scope("/", {"host": "localhost", "origin": "http://evil.com"})))
    assert b"HUTCH_ORIGINS" in reply.body


@pytest.mark.parametrize("origin", ["(", "[a-z", "a|b", "\\", ".*", "+", "a.b*c"])
def test_a_named_origin_is_no_pattern(origin: str) -> None:
    pattern = re.compile(origin_pattern((origin,)))
    assert pattern.fullmatch(origin)
    assert not pattern.fullmatch("http://evil.com")


async def _untouched(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nothing behind the guard is asked")


def options(path: str = "/api/chat", **headers: str) -> Reply:
    """What is answered to OPTIONS. Nothing that it carries is a key."""
    app = Guard(_untouched, origins=origin_pattern(EXTRA), check_host=True)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(ask(app, scope(path, named, "OPTIONS")))


@pytest.mark.parametrize("path", ["/api/chat", "/v1/messages", "/nothing/there"])
def test_a_preflight_tells_a_page_what_it_may_and_nothing_else(path: str) -> None:
    page = "http://localhost:3000"
    asked = {
        "access_control_request_method": "DELETE",
        "access_control_request_headers": "authorization,x-api-key",
    }
    reply = options(path, host="localhost", origin=page, **asked)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == page
    assert reply.headers["access-control-allow-headers"] == "authorization,x-api-key"
    assert "DELETE" in reply.headers["access-control-allow-methods"]
    assert not {"content-length", "content-type"} & set(reply.headers)
    assert options(path, host="localhost", origin=page).status == 204
    assert options(path, host="localhost").headers == {}


def test_a_preflight_from_elsewhere_is_refused() -> None:
    asked = {"access_control_request_method": "POST"}
    for headers in ({"host": "localhost", "origin": "https://evil.com"}, {"host": "evil.com"}):
        reply = options(**headers, **asked)
        assert (reply.status, [name for name in reply.headers if name.startswith("access-")]) == (403, [])
