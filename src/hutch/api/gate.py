"""The one gate: every request passes here before anything else is done for it."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from hutch.api import policy
from hutch.api.body import BodyTooSlow, pieces
from hutch.api.route import Call, Dialect, Route
from hutch.core.access import ANONYMOUS, Action, Principal
from hutch.core.errors import BadInput, Busy, HutchError, Unauthenticated
from hutch.security.authn import Authenticator

_log = logging.getLogger(__name__)


# Told of each answer: method, route, status, an error's code or "", seconds. What a client wrote is not among them.
Watcher = Callable[[str, str, int, str, float], None]


def unwatched(method: str, route: str, status: int, code: str, took_s: float) -> None:
    """The watcher where nobody watches."""


class Gate:
    """Lets requests in: who, whether they may, how much they may send, and what it must look like."""

    def __init__(
        self, authenticator: Authenticator, max_body_bytes: int, watcher: Watcher = unwatched
    ) -> None:
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes
        self.watcher = watcher

    def endpoint(self, route: Route) -> "Endpoint":
        """The ASGI application of this route. Raises TypeError for a route without an action."""
        return Endpoint(self, route)

    async def response(self, route: Route, request: Request, body_is_read: Callable[[], None]) -> Response:
        """What the route answers, if it is asked. `body_is_read` is called when it is. Raises ClientDisconnect."""
        try:
            who = ANONYMOUS if route.public else policy.asking(self.principal(request), request.headers)
            policy.check_action(who, route.action)
            body = None if route.raw_body or route.body is None else await self._body(request, route)
            if who.allowance.models is not None:
                policy.check_models(who, body, {**request.query_params, **request.path_params})
            if not route.raw_body:
                body_is_read()
            response = await route.handle(Call(who, request, body))
        except ClientDisconnect:
            raise
        except HutchError as error:
            return error_response(route.dialect, error)
        except Exception:  # noqa: BLE001  # the edge: whatever this is, the client gets an answer and the log the reason
            return error_response(route.dialect, internal_error())
        if response.media_type == JSONResponse.media_type:
            response.headers["content-type"] = route.dialect.json_type
        return response

    def principal(self, request: Request) -> Principal:
        """Who sends this, by a bearer token or, as Anthropic's clients do, by `x-api-key`. Raises Unauthenticated."""
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        bearer = credential.strip() if scheme.lower() == "bearer" else ""
        return self._authenticator.principal(bearer or request.headers.get("x-api-key", ""))

    async def _body(self, request: Request, route: Route) -> object:
        assert route.body is not None  # noqa: S101
        raw = bytearray()
        async for piece in pieces(request, self._max_body_bytes):
            raw += piece
        if not raw.strip():
            if not route.empty_body:
                raise BadInput("missing request body", hint="Send a JSON object.")
            raw[:] = b"{}"
        try:
            return route.body.model_validate_json(raw)
        except ValidationError as error:
            raise InvalidBody(error) from error


class Endpoint:
    """One route behind the gate, as an ASGI application."""

    def __init__(self, gate: Gate, route: Route) -> None:
        if not isinstance(route.action, Action):
            raise TypeError(f"{route.path} declares no action")
        self._gate = gate
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, for as long as the client is there."""
        began = time.monotonic()
        request, route = Request(scope, receive, send), self._route
        response: Response | None = None
        try:
            async with _cancelled_if_client_leaves(receive) as start_watching:
                response = await self._gate.response(route, request, start_watching)
                start_watching()
                await response(scope, receive, send)
        except ClientDisconnect:
            if response is None:  # nobody hears it, but it counts
                response = Refusal(b"", 499, code="client_left")
                await response(scope, receive, send)
        finally:
            method = (
                scope["method"] if scope["method"] in route.methods else "HEAD"
            )  # Starlette adds it to GET
            status = response.status_code if response else 499
            code = getattr(response, "error_code", "")  # of a stream, once it has ended
            self._gate.watcher(method, route.path, status, code, time.monotonic() - began)


class InvalidBody(BadInput):
    """A body that is not what the route takes; says so of the first field that is wrong."""

    def __init__(self, error: ValidationError) -> None:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        # Of a field that may be this or that, what went farthest was meant: item 3 of a list, not "no text".
        first = max((each for each in errors if each["loc"][:1] == errors[0]["loc"][:1]), key=_depth)
        param = ".".join(str(part) for part in first["loc"] if not _is_type(part))
        message = first["msg"].removeprefix("Invalid JSON: ").removesuffix(" after validation, not more")
        super().__init__(f"{param}: {message}" if param else f"invalid JSON: {message}", param=param or None)


def _depth(error: ErrorDetails) -> int:
    return len(error["loc"])


def _is_type(part: str | int) -> bool:
    """Whether a part of a place names one of the types that a field may be of, and nothing in the body."""
    return isinstance(part, str) and (part in {"str", "int", "float", "bool"} or "[" in part)


class Refusal(Response):
    """An answer that is an error. `error_code` is for whoever counts them."""

    def __init__(
        self,
        content: bytes,
        status: int,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        *,
        code: str,
    ) -> None:
        super().__init__(content, status, headers, media_type)
        self.error_code = code


def error_response(dialect: Dialect, error: HutchError) -> Response:
    """An error before anything was sent, in the dialect's words."""
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy) else {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BodyTooSlow):
        headers["Connection"] = "close"
    body = JSONResponse(dialect.error(error)).body
    return Refusal(bytes(body), error.http_status, headers, dialect.json_type, code=error.code)


def internal_error() -> HutchError:
    """Log the exception that is being handled; returns what the client may know of it."""
    number = secrets.token_hex(4)
    _log.exception("internal error %s", number)
    return HutchError(f"internal error {number}", hint="The server's log has the details under this number.")


@asynccontextmanager
async def _cancelled_if_client_leaves(receive: Receive) -> AsyncIterator[Callable[[], None]]:
    """Cancel the work inside when the client goes away, once the body has been read and watching starts.

    Raises ClientDisconnect then. The work must end with the answer's last byte: whoever has had it is gone too.
    """
    worker = asyncio.current_task()
    watcher: asyncio.Task[None] | None = None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        if worker is not None:
            worker.cancel()

    def start() -> None:
        nonlocal watcher
        watcher = watcher or asyncio.create_task(watch())

    try:
        yield start
    except asyncio.CancelledError:
        if has_left and worker is not None:
            worker.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        if watcher is not None:
            watcher.cancel()
