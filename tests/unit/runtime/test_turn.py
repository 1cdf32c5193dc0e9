"""Turns: several answers of one worker taken apart, and what is asked of it for them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest

from hutch.core.chat import Chunk, GenerateRequest
from hutch.core.errors import EngineFailed
from hutch.engines.client import WorkerClient
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.engines.wire import CHAT_PATH, TEXT_PATH
from hutch.prompt.answer import Marks
from hutch.runtime.answering import chunks_of
from hutch.runtime.conversation import Job
from hutch.runtime.slots import Lease
from hutch.runtime.turn import Turn
from tests.unit.runtime.things import TINY

_REQUEST = GenerateRequest(TINY, prompt="a")
_PLAN = LaunchPlan("w", Endpoint(), num_ctx=64, num_slots=4, num_batch=8, num_ubatch=8, num_thread=1)
_BODY: Mapping[str, Any] = {"prompt": "a", "seed": 7, "repeat_last_n": 64, "n_predict": 4}


class Script(WorkerClient):
    """Streams these events."""

    def __init__(self, events: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(Endpoint())
        self._events = events

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """All of them."""
        for event in self._events:
            yield event


def _heard(
    events: Sequence[Mapping[str, Any]], path: str = TEXT_PATH, num: int = 2, **job: Any
) -> list[Chunk]:
    async def hear() -> list[Chunk]:
        asked = Job(path, {**_BODY, "n_cmpl": num}, "a", **job)
        return [chunk async for chunk in chunks_of(Script(events), asked, _REQUEST)]

    return asyncio.run(hear())


def _said(chunks: Sequence[Chunk], choice: int) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.choice == choice)


def _text(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "content": text}


def _end(index: int, tokens: int) -> dict[str, Any]:
    timings = {"prompt_n": 9, "predicted_n": tokens}
    return {"index": index, "content": "", "stop": True, "stop_type": "eos", "timings": timings}


def test_events_of_several_answers_are_told_apart() -> None:
    chunks = _heard([_text(1, "x"), _text(0, "a"), _text(0, "b"), _end(0, 2), _text(1, "y"), _end(1, 3)])
    assert [(chunk.choice, chunk.text) for chunk in chunks[:4]] == [(1, "x"), (0, "a"), (0, "b"), (1, "y")]
    assert [(c.choice, c.finish_reason, c.usage and c.usage.completion_tokens) for c in chunks[4:]] == [
        (0, "stop", 2),
        (1, "stop", 3),
    ]


def test_the_usage_of_a_chat_belongs_to_the_choice_that_ended_before_it() -> None:
    def event(index: int, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}

    def usage(tokens: int) -> dict[str, Any]:
        return {"choices": [], "timings": {"prompt_n": 9, "predicted_n": tokens}}

    events = [event(1, {"content": "x"}), event(0, {"content": "a"}), event(1, {}, "length"), usage(5)]
    chunks = _heard([*events, event(0, {}, "stop"), usage(6)], CHAT_PATH)
    assert (_said(chunks, 0), _said(chunks, 1)) == ("a", "x")
    ends = {chunk.choice: chunk for chunk in chunks if chunk.finish_reason}
    told = {
        choice: (end.finish_reason, end.usage and end.usage.completion_tokens) for choice, end in ends.items()
    }
    assert told == {0: ("stop", 6), 1: ("length", 5)}


def test_thoughts_of_each_answer_are_taken_apart_by_themselves() -> None:
    events = [
        _text(0, "<t>h"),
        _text(1, "<t>w"),
        _text(0, "m</t>a"),
        _text(1, "ell</t>b"),
        _end(0, 2),
        _end(1, 2),
    ]
    chunks = _heard(events, marks=Marks(("<t>", "</t>")))
    assert [_said(chunks, choice) for choice in (0, 1)] == ["a", "b"]
    thoughts = ["".join(chunk.thinking for chunk in chunks if chunk.choice == choice) for choice in (0, 1)]
    assert thoughts == ["hm", "well"]


def test_an_answer_that_never_ended_is_an_error() -> None:
    with pytest.raises(EngineFailed):
        _heard([_text(0, "a"), _text(1, "x"), _end(0, 1)])


def test_the_first_turn_reuses_what_the_slot_holds_if_it_may_and_later_ones_their_own_prompt() -> None:
    stranger, own = Lease(2, reuse=False), Lease(2, reuse=True)
    assert Turn(stranger, 0).slot(may_reuse=True) == {"id_slot": 2, "cache_prompt": False}
    assert Turn(stranger, 1).slot(may_reuse=True)["cache_prompt"]
    assert Turn(own, 0).slot(may_reuse=True)["cache_prompt"]
    assert not Turn(own, 1).slot(may_reuse=False)["cache_prompt"]


def test_each_choice_has_a_seed_of_its_own() -> None:
    lease = Lease(0, reuse=False)
    assert Turn(lease, 0).body(_BODY, _PLAN) == _BODY
    assert Turn(lease, 3, (1, 2)).body(_BODY, _PLAN) == {**_BODY, "seed": 10, "n_cmpl": 3}
    assert Turn(lease, 3).body({**_BODY, "seed": -1}, _PLAN)["seed"] == -1
