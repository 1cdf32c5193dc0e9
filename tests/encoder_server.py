"""An encoder's wire on a Unix socket, as a worker serves it: for tests of the front with a real encoder.

`python -m tests.encoder_server FOLDER SOCKET` serves until its standard input ends.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hutch.core.errors import HutchError
from hutch.engines.onnx.encoder import Encoder
from hutch.engines.onnx.encoder_wire import EncoderWire, error_json


def app(wire: EncoderWire) -> Starlette:
    """The routes of the wire."""
    posts = [Route(path, _posted(answer), methods=["POST"]) for path, answer in wire.posts.items()]
    gets = [Route(path, _got(answer)) for path, answer in wire.gets.items()]
    return Starlette(routes=[*posts, *gets, Route("/health", _got(lambda: {"status": "ok"}))])


def _posted(answer: Callable[[Any], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return JSONResponse(await answer(await request.json()))
        except HutchError as error:
            status, said = error_json(error)
            return JSONResponse(said, status)

    return handle


def _got(answer: Callable[[], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(_request: Request) -> Response:
        return JSONResponse(answer())

    return handle


if __name__ == "__main__":
    folder, socket = Path(sys.argv[1]), sys.argv[2]
    os.umask(0o177)
    threads = int(os.environ.get("ENCODER_THREADS", "2"))
    uvicorn.run(app(EncoderWire(Encoder(folder, threads), folder)), uds=socket, log_level="warning")
