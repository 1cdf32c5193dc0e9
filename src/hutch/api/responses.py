"""`/v1/responses`: answers that are kept for a while, so that a conversation can go on from them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from hutch.api.gate import internal_error
from hutch.api.ollama_wire import logprobs as token_logprobs
from hutch.api.openai_wire import JsonDict, OpenAIDialect, ranged
from hutch.api.response_shelf import Kept, Shelf
from hutch.api.responses_wire import ResponsesBody, new_id
from hutch.api.route import Call, Route
from hutch.api.stream import SSE, Stream, with_first
from hutch.core.access import Action, Principal
from hutch.core.backend import Backend
from hutch.core.chat import Chunk, GenerateRequest, ToolCall, Usage
from hutch.core.errors import BadInput, HutchError, NotBuilt

DIALECT = OpenAIDialect("input")


class Responses:
    """Answers by the backend, in the words of OpenAI's Responses API."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._shelf = Shelf()
        self._working: dict[str, asyncio.Task[None]] = {}  # what answers in the background

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        post, root = ("POST",), "/v1/responses"
        one, act = f"{root}/{{response}}", Action.INFER
        return (
            Route(
                post, root, act, self.create, DIALECT, ResponsesBody, summary="Answer, and keep the answer"
            ),
            Route(("GET",), one, act, self.get, DIALECT, summary="A kept answer"),
            Route(("DELETE",), one, act, self.delete, DIALECT, summary="Forget a kept answer"),
            Route(
                post, f"{one}/cancel", act, self.cancel, DIALECT, summary="Stop an answer in the background"
            ),
            Route(("GET",), f"{one}/input_items", act, self.items, DIALECT, summary="What was asked"),
        )

    async def create(self, call: Call) -> Response:
        """Answer."""
        body: ResponsesBody = call.body
        headers = body.ignored()
        items = body.items()
        answer = _Answer(body)
        kept = Kept(answer.response, items, [])
        if body.previous_response_id is not None:
            previous = self._shelf.get(call.who, body.previous_response_id)
            kept.before, kept.before_bytes = previous.conversation(), previous.said_bytes
        request = body.internal([*kept.before, *items])
        keeps = body.store is not False
        if body.background:
            return self._begin(call, request, answer, kept)
        chunks = self._backend.generate(request, call.who)
        if body.stream:
            events = self._events(call.who, await with_first(chunks), answer, kept if keeps else None)
            return Stream(events, SSE, answer.failed, headers)
        async with aclosing(chunks):
            async for chunk in chunks:
                for _ in answer.add(chunk):
                    pass
        if keeps:
            self._shelf.put(call.who, kept)
        return JSONResponse(answer.response, headers=headers)

    async def get(self, call: Call) -> Response:
        """A kept answer, as far as it has come."""
        if call.request.query_params.get("stream") == "true":
            raise NotBuilt("stream: a kept answer is given whole", hint="Leave `stream` out.", param="stream")
        return JSONResponse(self._kept(call).response)

    async def delete(self, call: Call) -> Response:
        """Forget a kept answer; one that is being written is stopped."""
        name = self._kept(call).response["id"]
        await self._stop(name)
        self._shelf.remove(call.who, name)
        return JSONResponse({"id": name, "object": "response", "deleted": True})

    async def cancel(self, call: Call) -> Response:
        """Stop an answer in the background."""
        kept = self._kept(call)
        if not kept.response["background"]:
            raise BadInput("only an answer in the background can be cancelled", hint="Close its connection.")
        await self._stop(kept.response["id"])
        return JSONResponse(kept.response)

    async def items(self, call: Call) -> Response:
        """What was asked for an answer, the last first unless `order=asc`."""
        query = call.request.query_params
        limit = query.get("limit", "20")
        if not limit.isdecimal():
            raise BadInput("limit: a number is needed", param="limit")
        ranged("limit", int(limit[:9]), 1, 100)
        if query.get("order", "desc") not in ("asc", "desc"):
            raise BadInput("order: it takes asc or desc", param="order")
        items = list(self._kept(call).items)
        if query.get("order", "desc") == "desc":
            items.reverse()
        if after := query.get("after"):
            at = next((i for i, item in enumerate(items) if item["id"] == after), None)
            if at is None:
                raise BadInput(f"after: no item {after[:80]!r}", param="after")
            items = items[at + 1 :]
        page = items[: int(limit)]
        return JSONResponse(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": len(page) < len(items),
            }
        )

    def _kept(self, call: Call) -> Kept:
        return self._shelf.get(call.who, call.request.path_params["response"])

    def _begin(self, call: Call, request: GenerateRequest, answer: "_Answer", kept: Kept) -> Response:
        """Answer in the background."""
        body: ResponsesBody = call.body
        if body.stream or body.store is False:
            raise NotBuilt(
                "background: its answer is kept, and asked for with GET",
                hint="Leave `stream` out, and `store` as it is.",
                param="background",
            )
        answer.response["status"] = "queued"
        self._shelf.put(call.who, kept)
        name = answer.response["id"]
        task = asyncio.create_task(self._work(call.who, request, answer, kept))
        self._working[name] = task
        task.add_done_callback(lambda _: self._working.pop(name, None))
        return JSONResponse(answer.response, headers=body.ignored())

    async def _work(self, who: Principal, request: GenerateRequest, answer: "_Answer", kept: Kept) -> None:
        try:
            async with aclosing(self._backend.generate(request, who)) as chunks:
                async for chunk in chunks:
                    for _ in answer.add(chunk):
                        pass
        except HutchError as error:
            answer.failed(error)
        except asyncio.CancelledError:
            answer.end("cancelled")
            raise
        except Exception:  # noqa: BLE001  # the edge: nobody else would see it, so the answer says it and the log the reason
            answer.failed(internal_error())
        finally:
            self._shelf.weigh(who, kept)

    async def _stop(self, name: str) -> None:
        if (task := self._working.get(name)) is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _events(
        self, who: Principal, chunks: AsyncGenerator[Chunk, None], answer: "_Answer", kept: Kept | None
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events; the first go out with the first token."""
        pending = b"".join(answer.begin())
        async with aclosing(chunks):
            async for chunk in chunks:
                news = b"".join(answer.add(chunk))
                if chunk.finish_reason and kept is not None:
                    self._shelf.put(who, kept)  # before the client hears of its end, and may ask for it
                if news:
                    yield pending + news
                    pending = b""


class _Answer:
    """A response as it grows: items, each of one kind, one after another. What grows is told as events."""

    def __init__(self, body: ResponsesBody) -> None:
        self._num_events = 0
        self._is_open = False  # whether the last item is still being written
        self._call = -1  # the index of the call that is being written
        self._num_thoughts = 0
        self.response = _head(body)

    def begin(self) -> Iterator[bytes]:
        """The events that come before any item."""
        yield self._event("response.created", response=self.response)
        yield self._event("response.in_progress", response=self.response)

    def add(self, chunk: Chunk) -> Iterator[bytes]:
        """Let the answer grow."""
        self.response["status"] = "in_progress"
        if chunk.thinking:
            self._num_thoughts += 1
            yield from self._grow("reasoning", "reasoning_text", chunk.thinking, ())
        if chunk.text or chunk.logprobs:
            yield from self._grow("message", "output_text", chunk.text, token_logprobs(chunk.logprobs))
        for call in chunk.tool_calls:
            yield from self._grow_call(call)
        if chunk.finish_reason:
            is_cut = chunk.finish_reason == "length"
            yield from self._close("incomplete" if is_cut else "completed")
            usage = chunk.usage or Usage()
            self.response["usage"] = _usage_json(usage, min(self._num_thoughts, usage.completion_tokens))
            if is_cut:
                self.response["incomplete_details"] = {"reason": "max_output_tokens"}
            status = self.end("incomplete" if is_cut else "completed")
            yield self._event(f"response.{status}", response=self.response)

    def end(self, status: str) -> str:
        """Nothing more comes."""
        self.response["status"] = status
        if status == "completed":
            self.response["completed_at"] = int(time.time())
        return status

    def failed(self, error: HutchError) -> bytes:
        """The answer broke off: its last event."""
        told = DIALECT.error(error)["error"]
        self.response["error"] = {"code": "server_error", "message": told["message"]}
        self.end("failed")
        said = self._event("error", code=told["code"], message=told["message"], param=told["param"])
        return said + self._event("response.failed", response=self.response)

    def _grow(self, kind: str, part_type: str, text: str, entries: Any) -> Iterator[bytes]:
        if not (self._is_open and self._last["type"] == kind):
            yield from self._close("completed")
            part: JsonDict = {"type": part_type, "text": ""}
            if kind == "message":
                part |= {"annotations": [], "logprobs": []}
                item = {"id": new_id("msg"), "type": kind, "role": "assistant", "content": []}
            else:
                item = {"id": new_id("rs"), "type": kind, "summary": [], "content": []}
            yield self._open(item)
            self._last["content"].append(part)
            yield self._event("response.content_part.added", **self._place(), part=part)
        part = self._last["content"][0]
        part["text"] += text
        extra: JsonDict = {}
        if kind == "message":
            part["logprobs"] += entries
            extra["logprobs"] = list(entries)
        yield self._event(f"response.{part_type}.delta", **self._place(), delta=text, **extra)

    def _grow_call(self, call: ToolCall) -> Iterator[bytes]:
        if not (self._is_open and self._last["type"] == "function_call" and call.index == self._call):
            yield from self._close("completed")
            self._call = call.index
            item = {"id": new_id("fc"), "type": "function_call", "call_id": call.id or new_id("call")}
            yield self._open(item | {"name": call.name, "arguments": ""})
        if call.arguments:
            self._last["arguments"] += call.arguments
            yield self._event("response.function_call_arguments.delta", **self._item(), delta=call.arguments)

    def _open(self, item: JsonDict) -> bytes:
        self._is_open = True
        self.response["output"].append(item | {"status": "in_progress"})
        return self._event(
            "response.output_item.added", output_index=len(self.response["output"]) - 1, item=self._last
        )

    def _close(self, status: str) -> Iterator[bytes]:
        """End the item that is being written, if there is one."""
        if not self._is_open:
            return
        self._is_open = False
        item = self._last
        item["status"] = status
        if item["type"] == "function_call":
            item["arguments"] = item["arguments"] or "{}"
            yield self._event(
                "response.function_call_arguments.done",
                **self._item(),
                name=item["name"],
                arguments=item["arguments"],
            )
        else:
            part = item["content"][0]
            extra = {"logprobs": part["logprobs"]} if item["type"] == "message" else {}
            yield self._event(f"response.{part['type']}.done", **self._place(), text=part["text"], **extra)
            yield self._event("response.content_part.done", **self._place(), part=part)
        yield self._event(
            "response.output_item.done", output_index=len(self.response["output"]) - 1, item=item
        )

    @property
    def _last(self) -> JsonDict:
        item: JsonDict = self.response["output"][-1]
        return item

    def _item(self) -> JsonDict:
        return {"item_id": self._last["id"], "output_index": len(self.response["output"]) - 1}

    def _place(self) -> JsonDict:
        return {**self._item(), "content_index": 0}

    def _event(self, kind: str, **data: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._num_events, **data}
        self._num_events += 1
        return f"event: {kind}\ndata: ".encode() + to_json(event) + b"\n\n"


def _head(body: ResponsesBody) -> JsonDict:
    """A response of which nothing has been said yet."""
    effort, summary = (body.reasoning.effort, body.reasoning.summary) if body.reasoning else (None, None)
    form = (
        body.text.format.model_dump(by_alias=True, exclude_none=True)
        if body.text and body.text.format
        else None
    )
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": bool(body.background),
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": body.model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": effort, "summary": summary},
        "store": body.store is not False,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": {"format": form or {"type": "text"}},
        "tool_choice": body.tool_choice or "auto",
        "tools": body.tools or [],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": body.truncation or "disabled",
        "usage": None,
    }


def _usage_json(usage: Usage, num_thoughts: int) -> JsonDict:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": num_thoughts},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
