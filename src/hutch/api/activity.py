"""Who is being answered, and for how long nobody has been."""

import time
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send


class Activity:
    """What a server that leaves when nobody needs it has to know, and whether it is leaving."""

    def __init__(self) -> None:
        self.is_leaving = False
        self.num_open = 0
        self._last = time.monotonic()

    def note(self) -> None:
        """Somebody needs the server now."""
        self._last = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last request ended or anything else was noted; none while a request is open."""
        return 0.0 if self.num_open else time.monotonic() - self._last


class Counted:
    """Counts each request from its first byte to the last one of its answer, but for those to `uncounted` paths."""

    def __init__(self, app: ASGIApp, *, activity: Activity, uncounted: Collection[str]) -> None:
        self._app = app
        self._activity = activity
        self._uncounted = frozenset(uncounted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"] in self._uncounted:
            return await self._app(scope, receive, send)
        self._activity.num_open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.num_open -= 1
            self._activity.note()
