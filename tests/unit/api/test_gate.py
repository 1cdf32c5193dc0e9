"""The gate: who comes in, and with what."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from hutch.api.gate import Gate
from hutch.api.ollama_wire import OLLAMA
from hutch.api.openai_wire import OPENAI
from hutch.api.route import Call, Route, Wire
from hutch.api.server import served
from hutch.core.access import ANONYMOUS, Action
from hutch.core.errors import Busy, EngineFailed, NotFound
from hutch.security.authn import Authenticator, Keys, Open
from tests.keys import key
from tests.unit.api.asgi import Reply, ask, scope

LIMIT = 1 << 20
Handle = Callable[[Call], Awaitable[Response]]


class Inner(Wire):
    """A part of a body."""

    size: int


class Body(Wire):
    """A body with fields of several types."""

    name: str
    count: int | None = None
    flag: bool | None = None
    parts: tuple[Inner, ...] = ()


async def echo(call: Call) -> Response:
    body = call.body.model_dump() if call.body is not None else None
    return JSONResponse({"who": call.who.id, "body": body})


def gated(
    handle: Handle = echo,
    authenticator: Authenticator | None = None,
    **more: Any,
) -> Starlette:
    """An application of one route, `/x`."""
    route = Route(
        ("POST",), "/x", Action.INFER, handle, more.pop("dialect", OLLAMA), more.pop("body", Body), **more
    )
    return Starlette(routes=[served(Gate(authenticator or Open(), LIMIT), route)])


def post(
    app: Starlette, *pieces: bytes, headers: Mapping[str, str] | None = None, breaks_off: bool = False
) -> Reply:
    return asyncio.run(ask(app, scope("/x", headers), pieces or (b"",), breaks_off=breaks_off))


def test_a_body_becomes_its_type() -> None:
    reply = post(gated(), b'{"name": "a", ', b'"parts": [{"size": 1}], "more": 5}')
    assert reply.status == 200
    body = {"name": "a", "count": None, "flag": None, "parts": [{"size": 1}]}
    assert reply.json == {"who": ANONYMOUS.id, "body": body}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"), ({"name": None}, "name"), ({"name": 5}, "name"), ({"name": ["a"]}, "name"),
        ({"name": "a", "count": "5"}, "count"), ({"name": "a", "count": 1.5}, "count"), ({"name": "a", "count": True}, "count"),
        ({"name": "a", "flag": 1}, "flag"), ({"name": "a", "flag": "true"}, "flag"), ({"name": "a", "parts": {}}, "parts"),
        ({"name": "a", "parts": [{"size": 1}, {"size": "x"}]}, "parts.1.size"), ({"name": "a", "parts": [5]}, "parts.0"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_refused_by_the_fields_name(body: object, field: str) -> None:
    reply = post(gated(), json.dumps(body).encode())
    assert reply.status == 400
    assert reply.json["error"].startswith(f"{field}: ")
    reply = post(gated(dialect=OPENAI), json.dumps(body).encode())
    assert (reply.status, reply.json["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"5", b'"x"', b"null", b"{'name': 'a'}", b"\xff", b'{"name": "a"} x', b"name=a",
        b'{"name": "\xff"}', b'{"name": "\\ud800"}', b'{"name": "a", "count": NaN}',
        b'{"name":' * 5000 + b"1" + b"}" * 5000, b"[" * 100_000, b'{"name": "a", "x": ' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    reply = post(gated(), body)
    assert reply.status == 400
    assert len(reply.json["error"]) < 300


def test_a_secret_in_a_wrong_field_is_not_repeated() -> None:
    reply = post(gated(), b'{"name": {"password": "hush"}}')
    assert reply.status == 400
    assert b"hush" not in reply.body


@pytest.mark.parametrize("body", [b"", b" \n\t"])
def test_an_empty_body_is_refused_where_one_is_needed(body: bytes) -> None:
    reply = post(gated(), body)
    assert (reply.status, reply.json["error"]) == (400, "missing request body")


class Anything(Wire):
    """A body that may be empty."""

    name: str = "default"


@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
def test_an_empty_body_is_an_empty_object_where_that_is_allowed(body: bytes) -> None:
    reply = post(gated(body=Anything, empty_body=True), body)
    assert (reply.status, reply.json["body"]) == (200, {"name": "default"})


def test_a_route_without_a_body_reads_none() -> None:
    reply = post(gated(body=None), b"not looked at")
    assert (reply.status, reply.json["body"]) == (200, None)


@pytest.mark.parametrize("claimed", [str(LIMIT + 1), "9" * 19, "9" * 5000])
def test_a_body_that_claims_to_be_too_large_is_refused_unread(claimed: str) -> None:
    reply = post(gated(), b"{", headers={"content-length": claimed}, breaks_off=True)
    assert reply.status == 413
    assert reply.json["error"] == "the request body is larger than 1 MiB"


@pytest.mark.parametrize(
    "headers", [{}, {"content-length": "5"}, {"content-length": "-1"}, {"content-length": "x"}]
)
def test_a_body_that_turns_out_too_large_is_refused(headers: dict[str, str]) -> None:
    piece = b" " * (LIMIT // 4)
    assert post(gated(), *[piece] * 5, headers=headers, breaks_off=True).status == 413
    reply = post(gated(), *[piece] * 3, b'{"name": "a"}', headers=headers)
    assert reply.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "gzip, br"])
def test_a_body_that_is_packed_is_refused_by_the_encodings_name(encoding: str) -> None:
    reply = post(gated(), b"\x1f\x8b", headers={"content-encoding": encoding})
    assert (reply.status, reply.json["error"]) == (415, f"the request body is encoded as {encoding}")
    assert "plain" in reply.json["hint"]


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_body_may_say_that_it_is_plain(encoding: str) -> None:
    assert post(gated(), b'{"name": "a"}', headers={"content-encoding": encoding}).status == 200


def test_a_client_that_leaves_in_mid_body_is_not_answered_for() -> None:
    called = False

    async def handle(call: Call) -> Response:
        nonlocal called
        called = True
        return await echo(call)

    assert post(gated(handle), b'{"name": "a"}', breaks_off=True).status == 499
    assert not called


def test_a_client_that_leaves_stops_the_work() -> None:
    async def scenario() -> None:
        leaves, cleaned_up = asyncio.Event(), asyncio.Event()

        async def handle(_call: Call) -> Response:
            leaves.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned_up.set()
            raise NotImplementedError

        api = gated(handle)
        cancellations: list[int] = []

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            await api(scope, receive, send)
            task = asyncio.current_task()
            cancellations.append(task.cancelling() if task else -1)

        reply = await ask(watched, scope("/x"), [b'{"name": "a"}'], leaves=leaves)
        assert cancellations == [0]  # the server's own task is not left half cancelled
        assert reply.status == 499
        assert cleaned_up.is_set()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_a_server_that_stops_is_no_client_that_leaves() -> None:
    async def scenario() -> None:
        is_at_work = asyncio.Event()

        async def handle(_call: Call) -> Response:
            is_at_work.set()
            await asyncio.Event().wait()
            raise NotImplementedError

        asking = asyncio.create_task(ask(gated(handle), scope("/x"), [b'{"name": "a"}']))
        await is_at_work.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scenario())


KEYS = Keys(lambda: (key("right"),))


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer right", 200), ("bearer right", 200), ("BEARER  right ", 200), (None, 401), ("", 401), ("right", 401), ("Bearer", 401),
        ("Bearer ", 401), ("Bearer wrong", 401), ("Basic right", 401), ("Bearer right right", 401), ("Bearerright", 401), ("Bearer ä", 401),
    ],
)  # fmt: skip
def test_a_key_is_needed_where_there_are_keys(authorization: str | None, status: int) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    reply = post(gated(authenticator=KEYS), b'{"name": "a"}', headers=headers)
    assert reply.status == status
    if status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
    else:
        assert reply.json["who"].startswith("key:")


def test_without_a_key_not_even_the_body_is_read() -> None:
    assert post(gated(authenticator=KEYS), b"{", headers={"content-length": "9999999999"}).status == 401


def test_a_public_route_needs_no_key() -> None:
    assert post(gated(authenticator=KEYS, public=True), b'{"name": "a"}').status == 200
    assert post(gated(authenticator=KEYS), b'{"name": "a"}').status == 401


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (NotFound("no model"), 404, {}),
        (EngineFailed("died", hint="again"), 502, {}),
        (Busy("full", retry_after_s=7), 503, {"retry-after": "7"}),
    ],
)
def test_an_error_gets_its_status_and_the_dialects_words(
    error: Exception, status: int, headers: dict[str, str]
) -> None:
    async def handle(_call: Call) -> Response:
        raise error

    reply = post(gated(handle), b'{"name": "a"}')
    assert (reply.status, reply.json["error"]) == (status, str(error))
    assert headers.items() <= reply.headers.items()
    reply = post(gated(handle, dialect=OPENAI), b'{"name": "a"}')
    assert reply.status == status
    assert str(error) in reply.json["error"]["message"]


def test_what_nobody_expected_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(_call: Call) -> Response:
        raise ZeroDivisionError("a secret of the inside")

    with caplog.at_level(logging.ERROR):
        reply = post(gated(handle), b'{"name": "a"}')
    assert reply.status == 500
    assert b"secret" not in reply.body
    number = reply.json["error"].removeprefix("internal error ")
    assert number in caplog.text
    assert "a secret of the inside" in caplog.text


def test_a_raw_body_is_left_to_the_handler() -> None:
    async def handle(call: Call) -> Response:
        pieces: Iterable[bytes] = [piece async for piece in call.request.stream()]
        return JSONResponse({"size": sum(map(len, pieces)), "body": call.body})

    reply = post(gated(handle, raw_body=True), b"x" * LIMIT, b"y")
    assert reply.json == {"size": LIMIT + 1, "body": None}
