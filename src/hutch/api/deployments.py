"""`/api/deployments`: what is deployed on this server, and changes of that."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import JSONResponse, Response

from hutch.api.ollama_wire import OLLAMA, error_line, line
from hutch.api.route import Call, Route, Wire
from hutch.api.stream import NDJSON, Stream, with_first
from hutch.core.access import Action
from hutch.core.errors import BadInput
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.core.reports import progress_json
from hutch.formats import deployment as form
from hutch.runtime.deployer import Deployer


class DeploymentBody(Wire):
    """`PUT /api/deployments/{port}`."""

    deployment: dict[str, Any]
    performance: dict[str, Any] | None = None
    variant: str | None = None  # a model to load in its place
    stream: bool | None = None


class StreamBody(Wire):
    """`POST /api/deployments/{port}/rollback`."""

    stream: bool | None = None


class Deployments:
    """Answers by the deployer."""

    def __init__(self, deployer: Deployer) -> None:
        self._deployer = deployer

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        write, path = Action.DEPLOY, "/api/deployments/{port}"
        return (
            Route(
                ("GET",),
                "/api/deployments",
                Action.SEE_DEPLOYMENTS,
                self.all,
                OLLAMA,
                summary="List deployments",
            ),
            Route(("PUT",), path, write, self.put, OLLAMA, DeploymentBody, summary="Deploy a model"),
            Route(("DELETE",), path, write, self.delete, OLLAMA, summary="End a deployment"),
            Route(
                ("POST",),
                f"{path}/rollback",
                write,
                self.rollback,
                OLLAMA,
                StreamBody,
                empty_body=True,
                summary="Go back to the deployment before",
            ),
        )

    async def all(self, call: Call) -> Response:  # noqa: ARG002
        """All of them."""
        return JSONResponse({"deployments": await self._deployer.told()})

    async def put(self, call: Call) -> Response:
        """Deploy a model on this port."""
        body: DeploymentBody = call.body
        performance = {} if body.performance is None else {"performance": body.performance}
        deployment = form.parse({"deployment": body.deployment, **performance})
        if deployment.port != _port(call):
            raise BadInput(f"deployment.api.port is {deployment.port}, and the path says another")
        variant = ModelName.parse(body.variant) if body.variant else None
        return await _progress(self._deployer.apply(deployment, variant), stream=body.stream)

    async def delete(self, call: Call) -> Response:
        """End a deployment."""
        await self._deployer.remove(_port(call))
        return Response(status_code=200)

    async def rollback(self, call: Call) -> Response:
        """Go back to the deployment before."""
        body: StreamBody = call.body
        return await _progress(self._deployer.rollback(_port(call)), stream=body.stream)


def _port(call: Call) -> int:
    text = call.request.path_params["port"]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535):
        raise BadInput("the path names no port", hint="Write /api/deployments/8080.")
    return int(text)


async def _progress(steps: AsyncGenerator[Progress, None], *, stream: bool | None) -> Response:
    if stream is False:
        async with aclosing(steps):
            last = [step async for step in steps][-1]
        return JSONResponse(progress_json(last))
    return Stream(_lines(await with_first(steps)), NDJSON, error_line)


async def _lines(steps: AsyncGenerator[Progress, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(steps):
        async for step in steps:
            yield line(progress_json(step))
