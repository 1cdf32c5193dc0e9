"""`/api/tags`, `ps`, `show`, `pull`, `push`, `create`, `copy`, `delete`, `blobs`."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from pydantic import Field
from starlette.responses import JSONResponse, Response

from hutch.api import ollama_show
from hutch.api.body import BlockingBody, pieces
from hutch.api.limits import MAX_MESSAGES
from hutch.api.ollama_wire import OLLAMA, JsonDict, error_line, line
from hutch.api.route import Call, Route, Wire
from hutch.api.stream import NDJSON, Stream, with_first
from hutch.api.threads import Threads
from hutch.core.access import Action
from hutch.core.backend import Backend, Running
from hutch.core.durations import FOREVER
from hutch.core.errors import BadInput
from hutch.core.listing import details_json
from hutch.core.models import Progress
from hutch.core.names import ModelName, Reference, parse_digest
from hutch.core.options import DEPRECATED, OPTION_TYPES, PARAMETER_ALIASES, typed_option
from hutch.core.reports import progress_json
from hutch.store.bases import create_or_pull
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore

_log = logging.getLogger(__name__)
_MAX_JOBS = 32
_MAX_UPLOADS = 8


class NameBody(Wire):
    """A body that names a model, in the newer field or the older one."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None

    @property
    def model_name(self) -> ModelName:
        """The name. Raises BadInput where there is none."""
        text = self.model or self.name
        if not text:
            raise BadInput("model is required", hint='Name it in the field "model".')
        return ModelName.parse(text)


class ShowBody(NameBody):
    """`POST /api/show`."""

    verbose: bool | None = None
    system: str | None = None  # these three are shown instead of the model's own
    template: str | None = None
    options: dict[str, Any] | None = None


class TransferBody(NameBody):
    """`POST /api/pull` and `/api/push`."""

    insecure: bool | None = None

    @property
    def reference(self) -> Reference:
        """The name; a scheme may stand before it, and the digest of a manifest behind it."""
        text = self.model or self.name
        if not text:
            return Reference(self.model_name)
        return Reference.parse_address(text, insecure=bool(self.insecure))


class CopyBody(Wire):
    """`POST /api/copy`."""

    source: str | None = None
    destination: str | None = None


class ExampleMessage(Wire):
    """A message of `/api/create`."""

    role: str
    content: str


class CreateBody(NameBody):
    """`POST /api/create`."""

    source: str | None = Field(default=None, alias="from")
    files: dict[str, str] | None = None
    template: str | None = None
    system: str | None = None
    license: str | list[str] | None = None
    parameters: dict[str, Any] | None = None
    messages: list[ExampleMessage] | None = None
    adapters: dict[str, str] | None = None
    draft_files: dict[str, str] | None = None
    documents: dict[str, str] | None = None  # Hutch's own: names and digests
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    quantize: str | None = None
    quantization: str | None = None
    draft_quantize: str | None = None
    remote_host: str | None = None
    info: dict[str, Any] | None = None

    def recipe(self) -> Recipe:
        """What is to be made. Raises BadInput or NotBuilt."""
        if self.remote_host:
            raise BadInput(
                "remote_host: Hutch has no remote models, it runs them here",
                hint="Leave `remote_host` out, and pull the model.",
                param="remote_host",
            )
        if len(self.messages or ()) > MAX_MESSAGES:
            raise BadInput(f"messages: more than {MAX_MESSAGES}")
        licenses = [self.license] if isinstance(self.license, str) else self.license or []
        return Recipe(
            from_model=ModelName.parse(self.source) if self.source else None,
            files=_files(self.files),
            adapters=_files(self.adapters),
            drafts=_files(self.draft_files),
            documents=_files(self.documents),
            template=self.template,
            system=self.system,
            parameters=_parameters(self.parameters or {}),
            messages=tuple({"role": m.role, "content": m.content} for m in self.messages or ()),
            licenses=tuple(licenses),
            renderer=self.renderer,
            parser=self.parser,
            requires=self.requires,
            info=self.info or {},
            quantize=self.quantize or self.quantization or "",
            draft_quantize=self.draft_quantize or "",
        )


def _files(files: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, parse_digest(digest)) for name, digest in (files or {}).items())


def _parameters(said: Mapping[str, Any]) -> dict[str, Any]:
    """A model's parameters, each in its own type. Deprecated ones are passed over. Raises BadInput that names the wrong one."""
    parameters: dict[str, Any] = {}
    for said_name, value in said.items():
        name = PARAMETER_ALIASES.get(said_name, said_name)
        if name in DEPRECATED:
            _log.warning("parameter %s is deprecated", name)
        elif name not in OPTION_TYPES:
            raise BadInput(f"unknown parameter '{name[:64]}'", hint=f"Known are: {', '.join(OPTION_TYPES)}.")
        else:
            parameters[name] = typed_option(name, value)
    return parameters


class OllamaModels:
    """The store and what runs, in Ollama's words."""

    def __init__(self, store: ModelStore, backend: Backend, max_blob_bytes: int) -> None:
        self._store = store
        self._backend = backend
        self._max_blob_bytes = max_blob_bytes
        self._abilities = ollama_show.Abilities(store)
        self._jobs = Threads(_MAX_JOBS, "changes of the store")
        self._uploads = Threads(_MAX_UPLOADS, "uploads")

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        get, post = ("GET",), ("POST",)
        blob = "/api/blobs/{digest}"
        return (
            Route(("GET",), "/api/tags", Action.LIST_MODELS, self.tags, OLLAMA, summary="List models"),
            Route(get, "/api/ps", Action.SEE_RUNNING, self.ps, OLLAMA, summary="List loaded models"),
            Route(
                post, "/api/show", Action.READ_MODEL, self.show, OLLAMA, ShowBody, summary="Describe a model"
            ),
            Route(
                post, "/api/pull", Action.PULL_MODEL, self.pull, OLLAMA, TransferBody, summary="Fetch a model"
            ),
            Route(
                post, "/api/push", Action.PUSH_MODEL, self.push, OLLAMA, TransferBody, summary="Send a model"
            ),
            Route(
                post,
                "/api/create",
                Action.WRITE_MODEL,
                self.create,
                OLLAMA,
                CreateBody,
                summary="Make a model",
            ),
            Route(post, "/api/copy", Action.WRITE_MODEL, self.copy, OLLAMA, CopyBody, summary="Copy a model"),
            Route(
                ("DELETE",),
                "/api/delete",
                Action.DELETE_MODEL,
                self.delete,
                OLLAMA,
                NameBody,
                summary="Delete a model",
            ),
            Route(("HEAD",), blob, Action.WRITE_MODEL, self.has_blob, OLLAMA, summary="Ask for a blob"),
            Route(
                post, blob, Action.WRITE_MODEL, self.take_blob, OLLAMA, raw_body=True, summary="Upload a blob"
            ),
        )

    async def tags(self, call: Call) -> Response:
        """All models, newest first; who may see all of them is also told which cannot be read."""
        models = [each for each in await asyncio.to_thread(self._store.list) if call.who.may_use(each.name)]
        table = await asyncio.to_thread(ollama_show.table, models, self._abilities)
        if self._store.broken and call.who.allowance.models is None:
            table["broken"] = sorted(self._store.broken)
        return JSONResponse(table)

    async def ps(self, call: Call) -> Response:
        """The loaded models, those that stay longest first."""
        rows = sorted(
            (row for row in self._backend.running() if call.who.may_use(row.model.name)),
            key=lambda it: it.expires_at.timestamp() if it.expires_at else FOREVER,
            reverse=True,
        )
        return JSONResponse({"models": [_running(row) for row in rows]})

    async def show(self, call: Call) -> Response:
        """Everything about a model."""
        body: ShowBody = call.body
        model = await asyncio.to_thread(self._store.open, body.model_name)
        model = model._replace(
            system=body.system or model.system,
            template=body.template or model.template,
            parameters={**model.parameters, **_parameters(body.options or {})},
        )
        rows = (row for row in self._backend.running() if row.model.digest == model.stored.digest)
        hardware = next((dict(row.hardware) for row in rows if row.hardware), None)
        return JSONResponse(
            await asyncio.to_thread(
                ollama_show.description, model, verbose=bool(body.verbose), hardware=hardware
            )
        )

    async def pull(self, call: Call) -> Response:
        """Fetch a model by its name."""
        body: TransferBody = call.body
        name, digest = body.reference
        steps = self._store.pull(name, insecure=bool(body.insecure), digest=digest)
        return await self._progress(steps, body)

    async def push(self, call: Call) -> Response:
        """Send a model to the registry that its name says."""
        body: TransferBody = call.body
        name, digest = body.reference
        if digest is not None:
            raise BadInput("a model is pushed by its name", hint="Leave the digest out.", param="model")
        return await self._progress(self._store.push(name, insecure=bool(body.insecure)), body)

    async def create(self, call: Call) -> Response:
        """Make a model from another one, or from GGUF blobs."""
        body: CreateBody = call.body
        return await self._progress(create_or_pull(self._store, body.model_name, body.recipe()), body)

    async def copy(self, call: Call) -> Response:
        """Give a model a second name."""
        body: CopyBody = call.body
        source, destination = (
            _named("source", body.source or ""),
            _named("destination", body.destination or ""),
        )
        await self._jobs.run(self._store.copy, source, destination)
        return Response(status_code=200)

    async def delete(self, call: Call) -> Response:
        """Delete a model, unloading it first."""
        body: NameBody = call.body
        name = _named("name", body.model or body.name or "")
        await asyncio.to_thread(self._store.stamp, name)  # NotFound before anything is done
        await self._backend.unload(name)
        await self._jobs.run(self._store.delete, name)
        return Response(status_code=200)

    async def has_blob(self, call: Call) -> Response:
        """Whether the store has a blob."""
        digest = parse_digest(call.request.path_params["digest"])
        return Response(status_code=200 if await asyncio.to_thread(self._store.has_blob, digest) else 404)

    async def take_blob(self, call: Call) -> Response:
        """Take in a blob: 201 where it is new."""
        digest = parse_digest(call.request.path_params["digest"])
        body = BlockingBody(pieces(call.request, self._max_blob_bytes, "HUTCH_MAX_BLOB_GIB"))
        try:
            is_new = await self._uploads.run(self._store.import_blob, body, digest)
        finally:
            body.close()
        return Response(status_code=201 if is_new else 200)

    async def _progress(self, steps: Iterator[Progress], body: NameBody) -> Response:
        lines = self._jobs.steps(steps)
        if body.stream is False:
            async with aclosing(lines):
                last = [step async for step in lines][-1]
            return JSONResponse(progress_json(last))
        return Stream(_lines(await with_first(lines)), NDJSON, error_line)


async def _lines(steps: AsyncGenerator[Progress, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(steps):
        async for step in steps:
            yield line(progress_json(step))


def _named(field: str, text: str) -> ModelName:
    """The name in a field. Raises BadInput in Ollama's words."""
    try:
        return ModelName.parse(text)
    except BadInput as error:
        raise BadInput(f'{field} "{text[:100]}" is invalid', hint=error.hint, param=field) from error


def _running(row: Running) -> JsonDict:
    model = row.model
    more = {
        "kv_cache_type": row.kv_cache_type,
        "less": list(row.less),
        "tuned": dict(row.tuned or {}),
        "hardware": dict(row.hardware) if row.hardware else None,
    }
    return {
        "name": model.name.short,
        "model": model.name.short,
        "size": row.memory_bytes,
        "digest": model.digest,
        "details": details_json(model.details),
        "expires_at": row.expires_at.isoformat() if row.expires_at else "9999-12-31T23:59:59+00:00",
        "size_vram": 0,  # clients expect it; true of the built-in engine, not asked of another
        "context_length": row.num_ctx,
        "engine": row.engine,
        "pid": row.pid,
        "socket": row.socket,
        "state": row.state,
        "slots": row.num_slots,
        "busy": row.busy_slots,
        "queued": row.queued,
    } | {name: value for name, value in more.items() if value}
