"""What a server says of itself: alive, ready, version, documentation."""

import asyncio
from importlib.resources import files
from typing import Any

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import JSONResponse, PlainTextResponse, Response

from hutch import __version__
from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.errors import NotFound
from hutch.store.store import ModelStore

# The version of Ollama whose API this is: clients compare it.
OLLAMA_VERSION = "0.33.0"
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


class Service:
    """The routes that need no model."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        get, both = ("GET",), ("GET", "HEAD")
        health, describe = Action.HEALTH, Action.DESCRIBE
        return (
            Route(both, "/", describe, self.root, OLLAMA, documented=False),
            Route(both, "/api/version", describe, self.version, OLLAMA, summary="The API's version"),
            Route(both, "/api/health", health, self.alive, OLLAMA, public=True, summary="Alive"),
            Route(both, "/healthz", health, self.alive, OLLAMA, public=True, summary="Alive"),
            Route(both, "/readyz", health, self.ready, OLLAMA, public=True, summary="Ready for requests"),
            Route(get, "/openapi.json", describe, self.openapi, OLLAMA, documented=False),
            Route(get, "/docs", describe, self.docs, OLLAMA, documented=False),
            Route(get, "/docs/{asset}", describe, self.asset, OLLAMA, documented=False),
        )

    async def root(self, call: Call) -> Response:  # noqa: ARG002
        """What Ollama's clients look for."""
        return PlainTextResponse("Ollama is running")

    async def version(self, call: Call) -> Response:  # noqa: ARG002
        """The version of the API, and Hutch's own."""
        return JSONResponse({"version": OLLAMA_VERSION, "hutch": __version__})

    async def alive(self, call: Call) -> Response:  # noqa: ARG002
        """Alive: the event loop answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, call: Call) -> Response:  # noqa: ARG002
        """Ready: the model folder can be read."""
        await asyncio.to_thread(self._store.list)
        return JSONResponse({"status": "ready"})

    async def openapi(self, call: Call) -> Response:
        """The description of the API."""
        described: dict[str, Any] = call.request.app.openapi()
        return JSONResponse(described)

    async def docs(self, call: Call) -> Response:  # noqa: ARG002
        """The description of the API as a page; all that it loads comes from here."""
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Hutch",
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="/docs/favicon.png",
        )

    async def asset(self, call: Call) -> Response:
        """A file that the page loads."""
        name = call.request.path_params["asset"]
        if name not in _ASSETS:
            raise NotFound(f"no asset {name[:60]!r}")
        file = files("fastapi_offline") / "static" / name
        return Response(await asyncio.to_thread(file.read_bytes), media_type=_ASSETS[name])
