"""Answers in two calls: thoughts, and then what is said in a format. The worker follows a script."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hutch.core.chat import Chunk, GenerateRequest, Usage
from hutch.engines.client import WorkerClient
from hutch.engines.protocol import Endpoint
from hutch.runtime.answering import answered
from hutch.runtime.conversation import job_for, voice_of
from tests.unit.runtime.things import ask, facts, model, user

_THINKS = "{{ range .Messages }}{{ .Content }}{{ if .Thinking }}<t>{{ .Thinking }}</t>{{ end }}{{ end }}"
_SCHEMA = {"type": "object"}


class Script(WorkerClient):
    """Streams what stands in the script, one list of pieces for each call; the last piece is how it ends."""

    def __init__(self, *calls: list[str]) -> None:
        super().__init__(Endpoint())
        self.bodies: list[Mapping[str, Any]] = []
        self._calls = list(calls)

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The next call's pieces as events; each counts as a token."""
        assert path == "/completion"
        self.bodies.append(body)
        *pieces, end = self._calls.pop(0)
        for piece in pieces[: body["n_predict"] if body["n_predict"] >= 0 else None]:
            yield {"content": piece}
        timings = {"prompt_n": 10 * len(self.bodies), "predicted_n": len(pieces), "predicted_ms": 1000}
        word = "END" if end == "word" else ""
        yield {"content": "", "stop": True, "stop_type": end, "stopping_word": word, "timings": timings}

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        """Text into tokens, as many as characters."""
        assert path == "/tokenize"
        return {"tokens": [*map(ord, body["content"])]}


def _answer(script: Script, template: str = _THINKS, **fields: Any) -> list[Chunk]:
    request: GenerateRequest = ask(user("hi"), **{"response_format": _SCHEMA, **fields})
    voice = voice_of(model(template=template), facts())
    job = job_for(request, voice, request.messages or ())
    body = {**job.body, "id_slot": 3, "cache_prompt": False}

    async def heard() -> list[Chunk]:
        return [chunk async for chunk in answered(script, replace(job, body=body), request, voice)]

    return asyncio.run(heard())


def _told(chunks: list[Chunk]) -> tuple[str, str, str | None]:
    *_, last = chunks
    return "".join(c.thinking for c in chunks), "".join(c.text for c in chunks), last.finish_reason


def test_thoughts_are_free_and_what_is_said_has_the_format() -> None:
    script = Script(["<t>", "\nHm", ".\n", "word"], ['{"a":', " 1}", "eos"])
    chunks = _answer(script, sampling=replace(ask().sampling, stop=("END",)))
    assert _told(chunks) == ("Hm.\n", '{"a": 1}', "stop")
    free, bound = script.bodies
    assert (free["stop"], "json_schema" in free, free["cache_prompt"]) == (["END", "</t>"], False, False)
    assert bound["stop"] == ["END"]
    assert _SCHEMA.items() <= bound["json_schema"].items()
    assert (bound["prompt"], bound["id_slot"]) == ("hi<t>\nHm.\n</t>\n\n", 3)
    assert chunks[-1].usage == Usage(10, 0, 5, 0.0, 0.0, 2.0, 0.0)


@pytest.mark.parametrize("pieces", [["{", "oh", "eos"], ["Well", "limit"], ["<", "b>", "eos"]])
def test_who_answers_at_once_begins_anew_in_the_format(pieces: list[str]) -> None:
    script = Script(pieces, ["{}", "eos"])
    assert _told(_answer(script)) == ("", "{}", "stop")
    assert script.bodies[1]["prompt"] == "hi"


def test_thoughts_that_the_prompt_has_begun_are_closed() -> None:
    script = Script(["word"], ["{}", "eos"])
    assert _told(_answer(script, _THINKS + "{{ if .Think }}<t>{{ end }}")) == ("", "{}", "stop")
    assert script.bodies[1]["prompt"] == "hi<t></t>\n\n"


def test_both_calls_together_have_no_more_tokens_than_are_allowed() -> None:
    script = Script(["<t>", "Hm", "word"], ["{", '"a": 1', "}", "limit"])
    chunks = _answer(script, sampling=replace(ask().sampling, max_tokens=4))
    assert _told(chunks) == ("Hm", '{"a": 1', "length")
    assert [body["n_predict"] for body in script.bodies] == [4, 2]


def test_thoughts_that_use_up_all_tokens_are_all_there_is() -> None:
    script = Script(["<t>", "Hm", " so", "limit"])
    chunks = _answer(script, sampling=replace(ask().sampling, max_tokens=3), want_context=True)
    assert _told(chunks) == ("Hm so", "", "length")
    assert bytes(chunks[-1].context) == b"hi<t>Hm so"


def test_what_stopped_an_answer_is_told_once_also_behind_text_that_was_held_back() -> None:
    chunks = _answer(Script(["Hm", "<", "word"]), response_format=None)
    assert _told(chunks) == ("", "Hm<", "stop")
    assert [chunk.stopped_by for chunk in chunks if chunk.stopped_by] == [chunks[-1].stopped_by] == ["END"]


def test_the_context_is_of_the_whole_exchange() -> None:
    script = Script(["<t>Hm", "word"], ["{}", "eos"])
    chunks = _answer(script, want_context=True, context=(1, 2))
    assert chunks[-1].context[:2] == (1, 2)
    assert bytes(chunks[-1].context[2:]) == b"hi<t>Hm</t>\n\n{}"
    assert script.bodies[1]["prompt"] == (1, 2, "hi<t>Hm</t>\n\n")
