"""What Ollama does with accounts, its cloud and the web. Hutch has none of them, and says so in each route's own way."""

from collections.abc import Awaitable, Callable

from starlette.responses import JSONResponse, Response

from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.errors import Forbidden, HutchError, NotFound

_ACCOUNTS = "Hutch has no accounts, so nobody is signed in"
_KEYS = "A server that asks for a key gets it in the header `Authorization: Bearer KEY`."


def routes() -> tuple[Route, ...]:
    """The routes of this file."""
    get, post, delete = ("GET",), ("POST",), ("DELETE",)
    see = Action.DESCRIBE
    web, account = "/api/experimental/", _refused(NotFound, _ACCOUNTS, _KEYS)
    no_web = _refused(
        Forbidden,
        "ollama cloud is disabled: Hutch searches and fetches nothing on the web",
        "Search in the application, and send what it found with the prompt.",
    )
    return (
        Route(get, "/api/status", see, status, OLLAMA, summary="Whether there is a cloud: no"),
        Route(post, "/api/me", see, account, OLLAMA, documented=False),
        Route(post, "/api/signout", see, account, OLLAMA, documented=False),
        Route(delete, "/api/user/keys/{key}", see, account, OLLAMA, documented=False),
        Route(post, f"{web}web_search", see, no_web, OLLAMA, documented=False),
        Route(post, f"{web}web_fetch", see, no_web, OLLAMA, documented=False),
        Route(get, f"{web}model-recommendations", see, recommendations, OLLAMA, documented=False),
    )


async def status(call: Call) -> Response:  # noqa: ARG001
    """The cloud is off, for good."""
    return JSONResponse({"cloud": {"disabled": True, "source": "config"}})


async def recommendations(call: Call) -> Response:  # noqa: ARG001
    """Hutch recommends no models."""
    return JSONResponse({"recommendations": []})


def _refused(kind: type[HutchError], message: str, hint: str) -> Callable[[Call], Awaitable[Response]]:
    async def refuse(call: Call) -> Response:  # noqa: ARG001
        raise kind(message, hint=hint)

    return refuse
