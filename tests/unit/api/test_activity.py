"""Who is being answered, counted."""

import asyncio
import contextlib

from starlette.types import Receive, Scope, Send

from hutch.api.activity import Activity, Counted
from tests.unit.api.asgi import scope


async def _receive() -> dict[str, object]:
    return {"type": "http.disconnect"}


async def _send(_message: object) -> None:
    pass


def test_a_request_counts_until_its_answer_ends_however_that_ends() -> None:
    async def scenario() -> None:
        activity, go_on = Activity(), asyncio.Event()

        async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
            await go_on.wait()
            if scope["path"] == "/broken":
                raise ZeroDivisionError

        counted = Counted(app, activity=activity, uncounted=["/healthz"])
        await asyncio.sleep(0.02)
        assert activity.idle_s > 0.01
        open_ones = [
            asyncio.create_task(counted(scope(path), _receive, _send)) for path in ("/a", "/broken", "/left")
        ]
        health = asyncio.create_task(counted(scope("/healthz"), _receive, _send))
        await asyncio.sleep(0.05)
        assert (activity.num_open, activity.idle_s) == (3, 0.0)
        open_ones[2].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await open_ones[2]
        assert activity.num_open == 2
        go_on.set()
        await asyncio.gather(*open_ones, health, return_exceptions=True)
        assert activity.num_open == 0
        assert activity.idle_s < 0.04  # it counts from the end, not from the beginning

    asyncio.run(scenario())


def test_health_is_not_counted() -> None:
    async def scenario() -> None:
        activity = Activity()
        await asyncio.sleep(0.02)

        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            assert activity.num_open == 0

        await Counted(app, activity=activity, uncounted=["/healthz"])(scope("/healthz"), _receive, _send)
        assert activity.idle_s > 0.01

    asyncio.run(scenario())
