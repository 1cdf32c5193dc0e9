"""OpenAI's client and its Responses against a real server with the real model."""

import time
from collections.abc import Iterator

import openai
import pytest
from pydantic import BaseModel

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import eventually, num_working, running

pytestmark = EVERY_ENGINE


@pytest.fixture(scope="module")
def gpt(server: Server) -> Iterator[openai.OpenAI]:
    """OpenAI's client."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="not needed", max_retries=0) as made:
        yield made


class Animal(BaseModel):
    """What a model is to fill in."""

    name: str
    legs: int


def test_it_answers_and_remembers(gpt: openai.OpenAI) -> None:
    first = gpt.responses.create(model=MODEL, input="Hi", max_output_tokens=8)
    assert (first.object, first.status) == ("response", "incomplete")
    assert first.incomplete_details
    assert first.incomplete_details.reason == "max_output_tokens"
    assert first.output_text
    assert first.usage
    assert first.usage.output_tokens == 8
    second = gpt.responses.create(
        model=MODEL, input="And?", previous_response_id=first.id, max_output_tokens=1
    )
    assert second.usage
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert gpt.responses.retrieve(first.id).output_text == first.output_text
    assert [item.type for item in gpt.responses.input_items.list(first.id)] == ["message"]
    gpt.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(first.id)


def test_it_streams_what_the_client_puts_together(gpt: openai.OpenAI) -> None:
    with gpt.responses.stream(model=MODEL, input="Hi", max_output_tokens=6) as stream:
        events = list(stream)
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type in ("response.incomplete", "response.completed")
    assert last.response.output_text == deltas
    assert [events[0].type, events[1].type] == ["response.created", "response.in_progress"]


def test_it_fills_in_a_form(gpt: openai.OpenAI) -> None:
    reply = gpt.responses.parse(
        model=MODEL, input="A dog has four legs.", text_format=Animal, max_output_tokens=120, temperature=0
    )
    assert reply.output_parsed is None or isinstance(reply.output_parsed.legs, int)
    assert reply.output_text.lstrip().startswith("{")


def test_an_answer_in_the_background_is_cancelled_at_once(server: Server, gpt: openai.OpenAI) -> None:
    queued = gpt.responses.create(
        model=MODEL, input="Count to a thousand.", background=True, max_output_tokens=4000
    )
    assert queued.status == "queued"
    eventually(lambda: gpt.responses.retrieve(queued.id).output_text, 40, "the answer has begun")
    began = time.monotonic()
    assert gpt.responses.cancel(queued.id).status in ("cancelled", "completed")
    eventually(lambda: not num_working(running(server)[MODEL]["socket"]), 5, "the slot is free")
    assert time.monotonic() - began < 2
