"""The `anthropic` package against a Hutch server: messages, streams, tools, counting, errors."""

import os
from collections.abc import AsyncIterator

import anthropic
import pytest

MODEL, TOOLED = "smollm2:135m", "llama3.1"
URL = os.environ["OLLAMA_HOST"]
HI = [{"role": "user", "content": "Say hi."}]
COLD = {"extra_body": {"temperature": 0}}  # which the package knows no more, and the API does
TOOL = {
    "name": "get_weather",
    "description": "The weather at a place",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string", "maxLength": 20}},
        "required": ["location"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client() -> anthropic.Anthropic:
    """The client, which does not try again: a failure is to be seen."""
    return anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=100)


@pytest.fixture
async def async_client() -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The same, asynchronous."""
    async with anthropic.AsyncAnthropic(base_url=URL, api_key="none", max_retries=0, timeout=100) as client:
        yield client


def test_message(client):
    reply = client.messages.create(model=MODEL, max_tokens=8, messages=HI, system="Be short.", **COLD)
    assert reply.content[0].type == "text"
    assert reply.content[0].text
    assert reply.stop_reason in ("end_turn", "max_tokens")
    assert reply.usage.output_tokens > 0


def test_stop_sequence(client):
    whole = client.messages.create(model=MODEL, max_tokens=12, messages=HI, **COLD).content[0].text
    stop = whole.split()[1]
    reply = client.messages.create(model=MODEL, max_tokens=12, messages=HI, **COLD, stop_sequences=[stop])
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", stop)


def test_stream(client):
    with client.messages.stream(model=MODEL, max_tokens=8, messages=HI, **COLD) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text
    assert final.usage.output_tokens > 0


def test_raw_stream(client):
    kinds = [
        event.type for event in client.messages.create(model=MODEL, max_tokens=4, messages=HI, stream=True)
    ]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert {"content_block_start", "content_block_delta", "content_block_stop"} <= set(kinds)


async def test_async(async_client):
    async with async_client.messages.stream(model=MODEL, max_tokens=8, messages=HI) as stream:
        assert (await stream.get_final_message()).role == "assistant"


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_tool(client, choice):
    asked = [{"role": "user", "content": "How is the weather in Paris?"}]
    reply = client.messages.create(
        model=TOOLED, max_tokens=100, messages=asked, tools=[TOOL], tool_choice=choice, **COLD
    )
    call = next(block for block in reply.content if block.type == "tool_use")
    assert reply.stop_reason == "tool_use"
    assert call.name == "get_weather"
    assert isinstance(call.input["location"], str)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}
    turns = [
        *asked,
        {"role": "assistant", "content": reply.content},
        {"role": "user", "content": [result]},
    ]
    told = client.messages.create(model=TOOLED, max_tokens=8, messages=turns, tools=[TOOL])
    assert told.role == "assistant"


def test_tool_stream(client):
    with client.messages.stream(
        model=TOOLED, max_tokens=100, messages=HI, tools=[TOOL], tool_choice={"type": "any"}, **COLD
    ) as stream:
        final = stream.get_final_message()
    call = next(block for block in final.content if block.type == "tool_use")
    assert isinstance(call.input["location"], str)


def test_count(client):
    one = client.messages.count_tokens(model=MODEL, messages=HI).input_tokens
    longer = [{"role": "user", "content": "Say hi, and be short."}]
    more = client.messages.count_tokens(model=MODEL, messages=longer).input_tokens
    assert 0 < one < more
    asked = client.messages.create(model=MODEL, max_tokens=1, messages=HI)
    assert one == asked.usage.input_tokens + asked.usage.cache_read_input_tokens


def test_what_is_wrong_is_told(client):
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="nobody-has-this", max_tokens=1, messages=HI)
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model=MODEL, max_tokens=1, messages=HI, extra_body={"temperature": 9})
    assert caught.value.body["error"]["type"] == "invalid_request_error"
