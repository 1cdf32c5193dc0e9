"""`/api/generate`, `/api/chat`, `/api/embed`, `/api/embeddings`."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from starlette.responses import JSONResponse, Response

from hutch.api.limits import MAX_INPUTS
from hutch.api.numbers import NumbersResponse
from hutch.api.ollama_wire import (
    OLLAMA,
    ChatBody,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    JsonDict,
    error_line,
    finished,
    line,
    logprobs,
    model_name,
    now,
    options_of,
    tool_calls,
)
from hutch.api.route import Call, Route
from hutch.api.stream import NDJSON, Stream, with_first
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import Chunk, EmbedRequest, GenerateRequest, TokenLogprob, ToolCall
from hutch.core.durations import parse_keep_alive_s
from hutch.core.errors import BadInput, NotFound
from hutch.core.names import ModelName

Render = Callable[[Chunk], JsonDict]


class OllamaChat:
    """Answers by the backend, in Ollama's words."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        post = ("POST",)
        return (
            Route(
                post,
                "/api/generate",
                Action.INFER,
                self.generate,
                OLLAMA,
                GenerateBody,
                summary="Complete a prompt",
            ),
            Route(
                post, "/api/chat", Action.INFER, self.chat, OLLAMA, ChatBody, summary="Answer a conversation"
            ),
            Route(post, "/api/embed", Action.INFER, self.embed, OLLAMA, EmbedBody, summary="Embed texts"),
            Route(
                post,
                "/api/embeddings",
                Action.INFER,
                self.embeddings,
                OLLAMA,
                EmbeddingsBody,
                summary="Embed one text",
            ),
        )

    async def generate(self, call: Call) -> Response:
        """Complete a prompt; load or unload where it is empty."""
        body: GenerateBody = call.body
        request = body.internal()
        if not body.prompt and not body.suffix:
            return await self._load(body.model, request, {"response": ""})
        name = body.model
        if body.debug_render_only:
            return await self._rendered(name, request, {"response": ""})
        return await self._answer(
            call, request, body.stream is not False, lambda chunk: _generated(name, chunk)
        )

    async def chat(self, call: Call) -> Response:
        """Answer a conversation; load or unload where it is empty."""
        body: ChatBody = call.body
        if not body.model:
            raise BadInput("model is required", hint='Name a model in the field "model".', param="model")
        request = body.internal()
        if not request.messages:
            return await self._load(body.model, request, {"message": {"role": "assistant", "content": ""}})
        name = body.model
        if body.debug_render_only:
            return await self._rendered(name, request, {"message": {"role": "assistant", "content": ""}})
        return await self._answer(call, request, body.stream is not False, lambda chunk: _said(name, chunk))

    async def embed(self, call: Call) -> Response:
        """Embed one text or several."""
        body: EmbedBody = call.body
        given = body.input or ()
        texts = (given,) if isinstance(given, str) else tuple(given)
        if len(texts) > MAX_INPUTS:
            raise BadInput(f"input: more than {MAX_INPUTS} texts")
        if body.dimensions is not None and body.dimensions < 0:
            raise BadInput("dimensions must be at least 1", hint="0 means all of them.")
        _, load = options_of(body.options)
        request = EmbedRequest(
            model_name(body.model),
            texts,
            truncate=body.truncate is not False,
            dimensions=body.dimensions or None,
            load=load,
            keep_alive_s=parse_keep_alive_s(body.keep_alive),
        )
        if not texts:
            load_s = await self._backend.load(request.model, load, request.keep_alive_s)
            return JSONResponse({"model": body.model, "embeddings": [], "load_duration": round(load_s * 1e9)})
        result = await self._backend.embed(request, call.who)
        reply = {
            "model": body.model,
            "embeddings": result.vectors,
            "total_duration": round(result.total_s * 1e9),
            "load_duration": round(result.load_s * 1e9),
            "prompt_eval_count": result.prompt_tokens,
        }
        return NumbersResponse(reply)

    async def embeddings(self, call: Call) -> Response:
        """Embed one text, the older way."""
        body: EmbeddingsBody = call.body
        _, load = options_of(body.options)
        if not body.model:
            raise BadInput("model is required", hint='Name a model in the field "model".', param="model")
        name, keep_alive_s = model_name(body.model), parse_keep_alive_s(body.keep_alive)
        try:
            if not body.prompt:
                await self._backend.load(name, load, keep_alive_s)
                return JSONResponse({"embedding": []})
            request = EmbedRequest(
                name, (body.prompt,), normalize=False, load=load, keep_alive_s=keep_alive_s
            )
            result = await self._backend.embed(request, call.who)
        except NotFound as error:
            raise NotFound(
                f'model "{name.typed}" not found, try pulling it first', hint=error.hint
            ) from error
        return NumbersResponse({"embedding": result.vectors[0]})

    async def _load(self, name: str | None, request: GenerateRequest, empty: JsonDict) -> Response:
        """An empty prompt loads the model; with a keep_alive of 0 it unloads it."""
        if request.keep_alive_s == 0:
            await self._backend.unload(request.model)
            reason = "unload"
        else:
            await self._backend.load(request.model, request.load, request.keep_alive_s)
            reason = "load"
        reply = {"model": name, "created_at": now(), **empty, "done": True, "done_reason": reason}
        return JSONResponse(reply | (self._hardware(request.model) if reason == "load" else {}))

    def _hardware(self, name: ModelName) -> JsonDict:
        """What an ONNX model runs on, and what was stepped down from. Clients of Ollama pass it over."""
        rows = [row for row in self._backend.running() if row.model.name == name and row.hardware]
        return {"hardware": dict(rows[0].hardware or {})} if rows else {}

    async def _rendered(self, name: str | None, request: GenerateRequest, empty: JsonDict) -> Response:
        """What the model would be sent. Nothing is generated."""
        text = await self._backend.render(request)
        reply = {"model": name, "created_at": now(), **empty, "done": False}
        return JSONResponse(reply | {"_debug_info": {"rendered_template": text}})

    async def _answer(self, call: Call, request: GenerateRequest, stream: bool, render: Render) -> Response:
        chunks = self._backend.generate(request, call.who)
        if not stream:
            async with aclosing(chunks):
                return JSONResponse(render(_joined([chunk async for chunk in chunks])))
        lines = _lines(await with_first(chunks), render)
        return Stream(lines, NDJSON, error_line)


async def _lines(chunks: AsyncGenerator[Chunk, None], render: Render) -> AsyncGenerator[bytes, None]:
    """One line a chunk. Tool calls come in one piece each, in the line before the last."""
    calls: list[ToolCall] = []
    async with aclosing(chunks):
        async for chunk in chunks:
            calls += chunk.tool_calls
            if chunk.finish_reason and calls:
                yield line(render(Chunk(tool_calls=tuple(calls))))
            if chunk.text or chunk.thinking or chunk.logprobs or chunk.finish_reason:
                yield line(render(replace(chunk, tool_calls=()) if chunk.tool_calls else chunk))


def _joined(chunks: list[Chunk]) -> Chunk:
    """One chunk that says all that these say."""
    last = chunks[-1]
    entries: list[TokenLogprob] = [entry for chunk in chunks for entry in chunk.logprobs]
    return Chunk(
        text="".join(chunk.text for chunk in chunks),
        thinking="".join(chunk.thinking for chunk in chunks),
        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
        logprobs=tuple(entries),
        finish_reason=last.finish_reason,
        usage=last.usage,
        context=last.context,
    )


def _generated(name: str | None, chunk: Chunk) -> JsonDict:
    reply: JsonDict = {"model": name, "created_at": now(), "response": chunk.text}
    if chunk.thinking:
        reply["thinking"] = chunk.thinking
    return _ended(reply, chunk, {"context": list(chunk.context)} if chunk.context else {})


def _said(name: str | None, chunk: Chunk) -> JsonDict:
    message: JsonDict = {"role": "assistant", "content": chunk.text}
    if chunk.thinking:
        message["thinking"] = chunk.thinking
    if chunk.tool_calls:
        message["tool_calls"] = tool_calls(list(chunk.tool_calls))
    return _ended({"model": name, "created_at": now(), "message": message}, chunk, {})


def _ended(reply: JsonDict, chunk: Chunk, extra: JsonDict) -> JsonDict:
    if chunk.logprobs:
        reply["logprobs"] = logprobs(chunk.logprobs)
    return reply | (finished(chunk) | extra if chunk.finish_reason else {"done": False})
