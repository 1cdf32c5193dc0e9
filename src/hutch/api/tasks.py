"""`/api/tasks`: services with names, over any chat model, and over images."""

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hutch.api import tasks_wire as wire
from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import Usage
from hutch.core.errors import NotFound
from hutch.tasks import pictures, questions, redaction
from hutch.tasks.asking import Asked, answer
from hutch.tasks.line import Line, in_thread

JsonDict = dict[str, Any]

_REDACTIONS = Line(1, 8, "redactions")


@dataclass(frozen=True, slots=True)
class Task:
    """A service: what it takes and gives, and whether it asks a model."""

    name: str
    help: str
    asks: Literal["always", "sometimes", "never"]
    body: type[wire.TaskBody]
    reply: type[BaseModel]
    do: Callable[[Call], Awaitable[JsonDict]]


class Tasks:
    """The routes, and the backend behind them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tasks = self._all()

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file: one for each task, so that each has a body of its own."""
        return (
            *(
                Route(
                    ("POST",),
                    f"/api/tasks/{task.name}",
                    Action.INFER,
                    functools.partial(_done, task),
                    OLLAMA,
                    task.body,
                    summary=task.help,
                )
                for task in self._tasks
            ),
            Route(
                ("GET",), "/api/tasks", Action.DESCRIBE, self.listed, OLLAMA, summary="What tasks there are"
            ),
            Route(("POST",), "/api/tasks/{task}", Action.INFER, self.unknown, OLLAMA, documented=False),
        )

    def _all(self) -> tuple[Task, ...]:
        ask = self._ask
        return (
            Task("summarize", "Say it shorter", "always", wire.Summarize, wire.Summary, ask),
            Task("rewrite", "Say it in another style", "always", wire.Rewrite, wire.NewText, ask),
            Task("translate", "Say it in another language", "always", wire.Translate, wire.NewText, ask),
            Task("classify", "Choose one of several labels", "always", wire.Classify, wire.Label, ask),
            Task("extract", "Find the values of fields", "always", wire.Extract, wire.Extracted, ask),
            Task("table", "Make a table of it", "always", wire.Table, wire.Tabled, self._table),
            Task("redact", "Take out what is private", "sometimes", wire.Redact, wire.Redacted, self._redact),
            Task("describe", "Say what a picture shows", "always", wire.Describe, wire.Description, ask),
            Task("ocr", "Read the text in a picture", "never", wire.Ocr, wire.Read, _ocr),
            Task("enhance", "Make a picture better", "never", wire.Enhance, wire.Enhanced, _enhance),
        )

    async def listed(self, call: Call) -> Response:  # noqa: ARG002
        """Every task, with the JSON Schemas of what it takes and gives."""
        return JSONResponse({"tasks": self._told})

    @functools.cached_property
    def _told(self) -> list[JsonDict]:
        return [
            {
                "name": task.name,
                "description": task.help,
                "asks_model": task.asks,
                "input": task.body.model_json_schema(),
                "output": task.reply.model_json_schema(),
            }
            for task in self._tasks
        ]

    async def unknown(self, call: Call) -> Response:
        """There is no such task. Raises NotFound that names those that there are."""
        name = call.request.path_params["task"]
        known = ", ".join(task.name for task in self._tasks)
        raise NotFound(f"there is no task {name!a:.60}", hint=f"There are {known}.")

    async def _ask(self, call: Call) -> JsonDict:
        asked = call.body.asked()
        told, usage = await answer(self._backend, call.body.question(), asked, call.who)
        return told | _counts(asked, usage)

    async def _table(self, call: Call) -> JsonDict:
        body: wire.Table = call.body
        asked, text, columns = body.asked(), body.given(), body.named()
        before = Usage()
        if columns is None:
            told, before = await answer(self._backend, questions.columns_of(text), asked, call.who)
            columns = told["columns"]
        told, usage = await answer(self._backend, questions.rows_of(text, columns), asked, call.who)
        return told | _counts(asked, before, usage)

    async def _redact(self, call: Call) -> JsonDict:
        body: wire.Redact = call.body
        asked, text = body.asked(), body.given()
        named, counts = [], {}
        if asked is not None:
            told, usage = await answer(self._backend, questions.names_in(text, body.names), asked, call.who)
            named, counts = told["found"], _counts(asked, usage)
        async with _REDACTIONS.turn():
            return await in_thread(_redacted, text, body.rules, named) | counts


async def _done(task: Task, call: Call) -> Response:
    return JSONResponse(await task.do(call))


def _redacted(text: str, rules: Sequence[redaction.Rule], named: Sequence[tuple[str, str]]) -> JsonDict:
    found = redaction.together(text, redaction.by_rules(text, rules), redaction.by_names(text, named))
    return {"text": redaction.without(text, found), "found": [asdict(each) for each in found]}


async def _ocr(call: Call) -> JsonDict:
    return await pictures.text_in(call.body.seen)


async def _enhance(call: Call) -> JsonDict:
    return await pictures.enhanced(call.body.seen, call.body.wanted())


def _counts(asked: Asked, *usages: Usage) -> JsonDict:
    """What the model read and wrote, in Ollama's words."""
    return {
        "model": asked.model.short,
        "prompt_eval_count": sum(each.prompt_tokens for each in usages),
        "eval_count": sum(each.completion_tokens for each in usages),
        "total_duration": round(sum(each.total_s for each in usages) * 1e9),
    }
