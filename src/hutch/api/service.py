"""What a server says of itself: alive, ready, version, documentation."""

import asyncio
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from hutch import OLLAMA_VERSION, __version__
from hutch.api.activity import Activity
from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.errors import HutchError, NotFound

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Hutch</title>
<link rel="icon" href="/docs/favicon.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui"})</script>
</body>
</html>
"""
_PROBE_S = 5.0


class NotReady(HutchError):
    """The server is up and cannot answer requests."""

    code = "not_ready"
    http_status = 503


class Service:
    """The routes that need no model."""

    def __init__(
        self,
        models: Path,
        activity: Activity,
        describe: Callable[[], dict[str, Any]],
        is_deployed: Callable[[], bool],
    ) -> None:
        self._models = models
        self._is_deployed = is_deployed
        self._activity = activity
        self._describe = describe

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        get = ("GET",)
        health, describe = Action.HEALTH, Action.DESCRIBE
        return (
            Route(get, "/", describe, self.root, OLLAMA, documented=False),
            Route(get, "/api/version", describe, self.version, OLLAMA, summary="The API's version"),
            Route(get, "/api/health", health, self.alive, OLLAMA, public=True, summary="Alive"),
            Route(get, "/healthz", health, self.alive, OLLAMA, public=True, summary="Alive"),
            Route(get, "/readyz", health, self.ready, OLLAMA, public=True, summary="Ready for requests"),
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
        """Ready: the server is not leaving, what is deployed is served, and the model folder can be read, or made."""
        if self._activity.is_leaving:
            raise NotReady("the server is shutting down")
        if not self._is_deployed():  # which of them, and why, is for those who may see deployments
            raise NotReady("deployments are not ready", hint="See `hutch deploy list`.")
        try:
            async with asyncio.timeout(_PROBE_S):
                is_usable = await asyncio.to_thread(_is_usable, self._models)
        except TimeoutError:
            raise NotReady("the disk of the model folder does not answer") from None
        if not is_usable:
            raise NotReady("the model folder cannot be read", hint="Look at HUTCH_MODELS and its rights.")
        return JSONResponse({"status": "ready"})

    async def openapi(self, call: Call) -> Response:  # noqa: ARG002
        """The description of the API."""
        return JSONResponse(await asyncio.to_thread(self._describe))

    async def docs(self, call: Call) -> Response:  # noqa: ARG002
        """The description of the API as a page; all that it loads comes from here."""
        return HTMLResponse(_PAGE)

    async def asset(self, call: Call) -> Response:
        """A file that the page loads."""
        name = call.request.path_params["asset"]
        if name not in _ASSETS:
            raise NotFound(f"no asset {name[:60]!r}")
        file = files("fastapi_offline") / "static" / name
        return Response(await asyncio.to_thread(file.read_bytes), media_type=_ASSETS[name])


def _is_usable(models: Path) -> bool:
    """Whether the folder can be listed; where there is none yet, whether it can be made."""
    there = next((folder for folder in (models, *models.parents) if folder.exists()), models)
    if there != models:
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    try:
        with os.scandir(models):
            return os.access(models, os.X_OK)
    except OSError:
        return False
