"""The HTTP server: every route through the gate, all under one guard."""

import asyncio
import contextlib
import functools
import importlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from hutch import __version__, app, config, files, places
from hutch.api import ollama_cloud, starting
from hutch.api.activity import Activity, Counted
from hutch.api.anthropic_chat import AnthropicChat
from hutch.api.catalog import CatalogTable
from hutch.api.completions import Completions
from hutch.api.connection import Connection
from hutch.api.deployments import Deployments
from hutch.api.doors import CLOSED, Doors
from hutch.api.gate import Gate, error_response
from hutch.api.guard import Guard, origin_pattern
from hutch.api.hardware import Hardware
from hutch.api.metrics import MetricsRoutes
from hutch.api.ollama_chat import OllamaChat
from hutch.api.ollama_models import OllamaModels
from hutch.api.ollama_wire import OLLAMA
from hutch.api.openai_chat import OpenAIChat
from hutch.api.openai_models import OpenAIModels
from hutch.api.openai_wire import OPENAI
from hutch.api.openapi import described
from hutch.api.queue import Queue
from hutch.api.rerank import Rerank
from hutch.api.responses import Responses
from hutch.api.route import Route
from hutch.api.score import Score
from hutch.api.service import Service
from hutch.api.tasks import Tasks
from hutch.api.tokens import Tokens
from hutch.core.backend import Backend
from hutch.core.errors import Conflict, HutchError, NotFound
from hutch.metrics.counters import OTHER
from hutch.places import Address
from hutch.runtime import logs
from hutch.runtime.deployer import Deployer
from hutch.security.authn import Open, Welcome

_log = logging.getLogger(__name__)
_DRAIN_S = 10  # for answers to end when the server is told to stop
_LAST_WORDS_S = 5  # and for those that do not, to say so


def all_routes(parts: app.App, activity: Activity, deployer: Deployer | None = None) -> tuple[Route, ...]:
    """Every route that a server has."""
    deployer = deployer or Deployer(parts.backend, parts.store, parts.terms)
    routes = (
        *OpenAIChat(parts.backend).routes(),  # first what has to be quick: routes are tried in this order
        *Completions(parts.backend).routes(),
        *Responses(parts.backend).routes(),
        *AnthropicChat(parts.backend).routes(),
        *OllamaChat(parts.backend).routes(),
        *OllamaModels(parts.store, parts.backend, parts.settings.max_blob_gib << 30).routes(),
        *OpenAIModels(parts.backend, parts.store).routes(),
        *Rerank(parts.backend).routes(),
        *Tasks(parts.backend).routes(),
        *Score(parts.backend).routes(),
        *Tokens(parts.backend).routes(),
        *CatalogTable(parts.store).routes(),
        *Hardware(parts.inventory, parts.settings).routes(),
        *Queue(parts.backend, parts.ledger, parts.settings.max_queue).routes(),
        *Deployments(deployer).routes(),
        *ollama_cloud.routes(),
        *MetricsRoutes(parts.backend, parts.counters, activity).routes(),
    )
    service = Service(
        parts.store.root,
        activity,
        functools.cache(lambda: described(everything)),
        lambda: deployer.deployed.is_ready,
    )
    everything = (*routes, *service.routes())
    return everything


def create_app(
    parts: app.App, address: Address, activity: Activity, deployer: Deployer | None = None
) -> ASGIApp:
    """The ASGI application. Raises TypeError for a route without an action."""
    routes = all_routes(parts, activity, deployer)
    watcher = parts.counters.answered
    gate = Gate(parts.authenticator, parts.settings.max_body_mib << 20, watcher)
    routed = Starlette(
        routes=[served(gate, route) for route in routes],
        exception_handlers={HTTPException: functools.partial(_no_such_route, gate)},
    )
    # A redirect asks for no key.
    routed.router.redirect_slashes = isinstance(parts.authenticator, Open | Welcome)
    origins = origin_pattern(parts.settings.origins)
    guarded = Guard(
        _Direct(routed, gate),
        origins=origins,
        check_host=address.is_loopback,
        refused=lambda: watcher(OTHER, "guard", 403, "forbidden", 0.0),
    )
    return Counted(guarded, activity=activity, uncounted=[route.path for route in routes if route.public])


def served(gate: Gate, route: Route) -> StarletteRoute:
    """A route behind the gate. Raises TypeError where it declares no action."""
    return StarletteRoute(route.path, gate.endpoint(route), methods=list(route.methods))


class _Direct:
    """Goes to the route of a method and a whole path without a search, and past Starlette's wrappers around each send.

    Paths with parameters, and what there is no route for, are left to Starlette.
    """

    def __init__(self, app: Starlette, gate: Gate) -> None:
        self._app = app
        self._gate = gate
        self._endpoints: dict[tuple[str, str], ASGIApp] = {
            (method, route.path): route.endpoint
            for route in app.routes
            if isinstance(route, StarletteRoute) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        where = scope.get("method", ""), scope.get("path", "")
        if CLOSED in scope:
            await _closed(self._gate, Request(scope))(scope, receive, send)
        else:
            await self._endpoints.get(where, self._app)(scope, receive, send)


def serve(address: Address, idle_exit_s: float | None = None) -> None:
    """Serve until told to stop, or until for `idle_exit_s` nobody was being answered and nothing was loaded."""
    settings = config.load()
    _configure_logging(is_debug=settings.debug)
    if settings.kv_cache_type not in ("auto", settings.cache_type):
        _log.warning(
            "kv_cache_type %s needs flash attention, which is off: contexts are kept in %s",
            *(settings.kv_cache_type, settings.cache_type),
        )
    places.models().mkdir(parents=True, exist_ok=True)
    sockets = [_listen(address)]
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, address, sockets, idle_exit_s))


async def _serve(
    settings: config.Settings, address: Address, sockets: Sequence[socket.socket], idle_exit_s: float | None
) -> None:
    parts = app.build(settings, address)
    _announce(parts, address, sockets[0])
    activity = Activity()
    deployer = Deployer(parts.backend, parts.store, parts.terms)
    application = create_app(parts, address, activity, deployer)
    configured = functools.partial(_configured, is_debug=parts.settings.debug)
    deployer.doors = doors = Doors(application, _listen, configured, address)
    server = _Server(parts.backend, activity, doors, configured(application))
    tasks = [starting.begin(parts, deployer)]
    if idle_exit_s:
        tasks.append(asyncio.create_task(_leave_when_idle(server, parts, deployer, idle_exit_s)))
    try:
        with _noted(sockets[0].getsockname()[1]):
            await server.serve(sockets=list(sockets))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.backend.close()


def _configured(application: ASGIApp, *, is_debug: bool) -> uvicorn.Config:
    """How HTTP is served, on every port."""
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=is_debug,
        lifespan="off",
        timeout_graceful_shutdown=_DRAIN_S + _LAST_WORDS_S,
        timeout_keep_alive=75,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client's address says it is
        http=Connection,
        ws="none",
    )


class _Server(uvicorn.Server):
    """A server that comes back from a signal, where uvicorn's would raise it again and so leave workers and sockets."""

    def __init__(self, backend: Backend, activity: Activity, doors: Doors, settings: uvicorn.Config) -> None:
        super().__init__(settings)
        self._doors = doors
        self._backend = backend
        self.activity = activity

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers end; after a while end the workers, so that what is left fails in its own dialect."""
        ending = asyncio.create_task(self._end_workers())
        try:
            await asyncio.gather(super().shutdown(sockets), self._doors.close_all())
        finally:
            ending.cancel()

    async def _end_workers(self) -> None:
        await asyncio.sleep(_DRAIN_S)
        await self._backend.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave."""
        self.activity.is_leaving = True
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave in good order on SIGINT and SIGTERM."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _leave_when_idle(server: "_Server", parts: app.App, deployer: Deployer, idle_exit_s: float) -> None:
    activity = server.activity
    while True:
        await asyncio.sleep(min(1.0, idle_exit_s / 4))
        logs.trim_own(places.server_log())  # nobody else looks after the log of a server in the background
        if parts.backend.running() or deployer.deployed.is_needed:
            activity.note()  # the time counts from the unload
        elif activity.idle_s > idle_exit_s:
            _log.info("nobody asked for anything for %.0f s: leaving", idle_exit_s)
            activity.is_leaving = True
            server.should_exit = True
            return


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=2048)
    except OSError as error:
        raise Conflict(
            f"cannot listen on {address.url}: {error.strerror or error}",
            hint="Another server may run there: stop it, or choose another address with HUTCH_HOST.",
        ) from error


@contextlib.contextmanager
def _noted(port: int) -> Iterator[None]:
    """Let this user's commands see with which variables this server runs, while it does."""
    note = places.server_note(port)
    told = {"pid": os.getpid(), "settings": places.server_settings()}
    try:
        files.write_whole(
            note, json.dumps(told).encode(), note.with_name(f".{note.name}.{os.getpid()}"), 0o600
        )
    except OSError as error:
        _log.warning("%s: %s: commands cannot tell which settings this server has", note, error.strerror)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink()


def _announce(parts: app.App, address: Address, listening: socket.socket) -> None:
    shown = Address(address.scheme, address.host, listening.getsockname()[1]).url
    print(
        f"Hutch {__version__} listens on {shown}, models in {parts.store.root}", file=sys.stderr, flush=True
    )
    if parts.new_key:
        print(
            f"Requests need a key. This one is shown only now:\n\n    {parts.new_key}\n",
            file=sys.stderr,
            flush=True,
        )
    elif not address.is_loopback and parts.settings.auth == "none":
        _log.warning("everybody who can reach this server may use and change it, because HUTCH_AUTH is none")


async def _no_such_route(gate: Gate, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    is_openai = request.url.path.startswith("/v1/")
    gate.watcher(OTHER, OTHER, error.status_code, "no_such_route", 0.0)
    try:
        gate.principal(request)  # what there is and what there is not is for those who may come in
    except HutchError as refusal:
        return error_response(OPENAI if is_openai else OLLAMA, refusal)
    if error.status_code == 404 and not is_openai:
        return PlainTextResponse("404 page not found", 404)
    message = f"{request.method} {request.url.path[:200]}: {error.detail.lower()}"
    if is_openai:
        failure = HutchError(message)
        failure.http_status, failure.code = error.status_code, error.detail.lower().replace(" ", "_")
        return JSONResponse(OPENAI.error(failure), error.status_code, error.headers)
    return JSONResponse({"error": message}, error.status_code, error.headers, OLLAMA.json_type)


def _closed(gate: Gate, request: Request) -> Response:
    """What a path answers that is not on this port; to who may not come in, no more than elsewhere."""
    error: HutchError = NotFound(
        "this port does not speak OpenAI's API",
        hint="Its deployment says openai_compatible: false. Use /api here, or the server's own port.",
    )
    try:
        gate.principal(request)
    except HutchError as refusal:
        error = refusal
    gate.watcher(OTHER, OTHER, error.http_status, error.code, 0.0)
    return error_response(OPENAI, error)


def _configure_logging(*, is_debug: bool) -> None:
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells addresses, and what secrets are in them
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    logging.getLogger("hutch").setLevel(logging.DEBUG if is_debug else logging.INFO)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    return importlib.import_module("uvloop").new_event_loop  # type: ignore[no-any-return]
