"""`/v1/models` and `/v1/embeddings`."""

import asyncio
import base64
import struct
from typing import Any

from starlette.responses import JSONResponse, Response

from hutch.api.limits import MAX_INPUTS, checked_token_ids
from hutch.api.numbers import NumbersResponse
from hutch.api.openai_wire import OPENAI, JsonDict, OpenAIDialect, OpenBody
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import EmbedRequest
from hutch.core.errors import BadInput
from hutch.core.models import StoredModel
from hutch.core.names import ModelName
from hutch.store.store import ModelStore


class EmbeddingsBody(OpenBody):
    """`POST /v1/embeddings`."""

    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


class OpenAIModels:
    """Which models there are, and their vectors, in OpenAI's words."""

    def __init__(self, backend: Backend, library: ModelStore) -> None:
        self._backend = backend
        self._library = library

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        get = ("GET",)
        return (
            Route(get, "/v1/models", Action.LIST_MODELS, self.models, OPENAI, summary="List models"),
            Route(
                get,
                "/v1/models/{model:path}",
                Action.READ_MODEL,
                self.model,
                OPENAI,
                summary="Describe a model",
            ),
            Route(
                ("POST",),
                "/v1/embeddings",
                Action.INFER,
                self.embeddings,
                OpenAIDialect("input"),
                EmbeddingsBody,
                summary="Embed texts",
            ),
        )

    async def models(self, call: Call) -> Response:
        """All models."""
        models = [each for each in await asyncio.to_thread(self._library.list) if call.who.may_use(each.name)]
        return JSONResponse({"object": "list", "data": [_model(model) for model in models]})

    async def model(self, call: Call) -> Response:
        """One model."""
        name = ModelName.parse(call.request.path_params["model"])
        return JSONResponse(_model((await asyncio.to_thread(self._library.open, name)).stored))

    async def embeddings(self, call: Call) -> Response:
        """Embed texts, given as such or as tokens."""
        body: EmbeddingsBody = call.body
        if body.encoding_format not in (None, "float", "base64"):
            raise BadInput("encoding_format: it takes float or base64", param="encoding_format")
        if body.dimensions is not None and body.dimensions < 1:
            raise BadInput("dimensions: it must be at least 1", param="dimensions")
        ignored = body.unknown()
        request = EmbedRequest(
            ModelName.parse(body.model), _texts(body.input), truncate=False, dimensions=body.dimensions
        )
        result = await self._backend.embed(request, call.who)
        write = _base64 if body.encoding_format == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": write(vector)}
            for index, vector in enumerate(result.vectors)
        ]
        usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
        reply = {"object": "list", "data": data, "model": body.model, "usage": usage}
        return NumbersResponse(reply, headers=ignored)


def _model(model: StoredModel) -> JsonDict:
    return {
        "id": model.name.short,
        "object": "model",
        "created": int(model.modified_at.timestamp()),
        "owned_by": model.name.namespace,
    }


def _texts(given: Any) -> tuple[str | tuple[int, ...], ...]:
    items = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not items:
        raise BadInput("input: it is empty", param="input")
    if len(items) > MAX_INPUTS:
        raise BadInput(f"input: more than {MAX_INPUTS} texts", param="input")
    for index, item in enumerate(items):
        if not item:
            where = f"input.{index}" if len(items) > 1 else "input"
            raise BadInput(f"{where}: it is empty", param="input")
    return tuple(item if isinstance(item, str) else checked_token_ids(item, "input") for item in items)


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
