"""The guard against web pages that reach for a server on the reader's own machine."""

import functools
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104
_LOCAL_ENDINGS = (".localhost", ".local", ".internal")
_APP_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_NOTHING: ASGIApp = Response(status_code=204)


def origin_pattern(extra: Iterable[str]) -> str:
    """A regular expression of the origins that may call: local pages, desktop applications, and `extra` with `*`."""
    local = [rf"https?://{re.escape(host)}(:\d+)?" for host in (*_LOCAL_HOSTS, "[::1]")]
    apps = [rf"{scheme}://.*" for scheme in _APP_SCHEMES]
    named = [re.escape(origin).replace(r"\*", ".*") for origin in extra]
    return "|".join(f"(?:{pattern})" for pattern in (*local, *apps, *named))


class Guard:
    """Refuses foreign origins; on a loopback server also foreign Host headers, which DNS rebinding would bring.

    Web pages of the other origins are told that they may read the answers. A question for that alone, OPTIONS, is answered
    here, the same whatever it is about: it carries no key.
    """

    def __init__(
        self, app: ASGIApp, *, origins: str, check_host: bool, refused: Callable[[], None] = lambda: None
    ) -> None:
        self._app = app
        self._refused = refused  # called for each request that is
        self._for_pages = _Pages(
            self._inside, allow_origin_regex=origins, allow_methods=["*"], allow_headers=["*"]
        )
        self._origins = re.compile(origins)
        self._check_host = check_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            foreign_host = self._check_host and not _is_own(headers.get("host", ""))
            if foreign_host or (origin and not self._origins.fullmatch(origin)):
                why = (
                    "Host not allowed: ask for localhost"
                    if foreign_host
                    else "Origin not allowed: see HUTCH_ORIGINS"
                )
                self._refused()
                refusal = PlainTextResponse(f"{why}\n", 403)
                return await refusal(scope, receive, send)
            if origin:
                return await self._for_pages(scope, receive, send)
        return await self._inside(scope, receive, send)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_asking = scope["type"] == "http" and scope["method"] == "OPTIONS"
        app = _NOTHING if is_asking else self._app
        await app(scope, receive, send)


class _Pages(CORSMiddleware):
    """What pages may do. A preflight is answered without a body, as Ollama answers it."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The headers, and no more; what is not allowed is told in words."""
        told = super().preflight_response(request_headers)
        if told.status_code != 200:
            return told
        cors = {name: value for name, value in told.headers.items() if not name.startswith("content-")}
        return Response(status_code=204, headers=cors)


@functools.lru_cache(maxsize=256)
def _is_own(host_header: str) -> bool:
    """Whether a Host header names this machine or its own network, not a name that somebody else resolves."""
    try:
        host = (urlsplit(f"//{host_header}").hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        own = ("localhost", socket.gethostname().lower())
        return host in own or host.endswith(_LOCAL_ENDINGS)
    return address.is_loopback or address.is_private or address.is_unspecified
