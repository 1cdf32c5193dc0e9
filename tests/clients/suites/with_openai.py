"""The `openai` package against a Hutch server: every resource that Hutch has, plain, streamed and parsed."""

import json
import os
from collections.abc import AsyncIterator

import openai
import pytest
from pydantic import BaseModel

MODEL, TOOLED = "smollm2:135m", "llama3.1"
BASE = f"{os.environ['OLLAMA_HOST']}/v1"
HI = [{"role": "user", "content": "Say hi."}]
WEATHER = {
    "type": "object",
    "properties": {"location": {"type": "string", "maxLength": 20}},
    "required": ["location"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather at a place", "parameters": WEATHER},
}


class Verdict(BaseModel):
    """What a parsed answer is."""

    is_good: bool
    count: int


@pytest.fixture
def client() -> openai.OpenAI:
    """The client, which does not try again: a failure is to be seen."""
    return openai.OpenAI(base_url=BASE, api_key="none", max_retries=0, timeout=100)


@pytest.fixture
async def async_client() -> AsyncIterator[openai.AsyncOpenAI]:
    """The same, asynchronous."""
    async with openai.AsyncOpenAI(base_url=BASE, api_key="none", max_retries=0, timeout=100) as client:
        yield client


def test_models(client):
    names = [model.id for model in client.models.list()]
    assert f"{MODEL}" in names
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody-has-this")
    assert caught.value.code == "model_not_found"


def test_chat(client):
    reply = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=8, temperature=0, n=2)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].message.content
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_chat_raw_headers(client):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HI, max_tokens=1)
    assert raw.status_code == 200
    assert raw.parse().object == "chat.completion"


def test_chat_streams(client):
    options = {"include_usage": True}
    parts = list(
        client.chat.completions.create(
            model=MODEL, messages=HI, max_tokens=8, temperature=0, stream=True, stream_options=options
        )
    )
    assert parts[-1].usage.completion_tokens
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    whole = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=8, temperature=0)
    assert text == whole.choices[0].message.content


def test_chat_stream_helper(client):
    with client.chat.completions.stream(
        model=MODEL,
        messages=HI,
        max_tokens=400,
        temperature=0,  # an answer that is cut off is an error to the helper
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.content


def test_chat_logprobs(client):
    reply = client.chat.completions.create(
        model=MODEL, messages=HI, max_tokens=4, logprobs=True, top_logprobs=2
    )
    entries = reply.choices[0].logprobs.content
    assert len(entries[0].top_logprobs) >= 1
    assert entries[0].logprob <= 0


def test_chat_parses(client):
    reply = client.chat.completions.parse(
        model=MODEL, messages=HI, response_format=Verdict, max_tokens=200, temperature=0
    )
    assert isinstance(reply.choices[0].message.parsed, Verdict)


def test_chat_calls_a_tool(client):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    asked = [{"role": "user", "content": "How is the weather in Paris?"}]
    reply = client.chat.completions.create(
        model=TOOLED,
        messages=asked,
        tools=[TOOL],
        tool_choice=choice,
        parallel_tool_calls=False,
        max_tokens=100,
        temperature=0,
    )
    [call] = reply.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["location"]
    answer = {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}
    again = [*asked, reply.choices[0].message, answer]
    told = client.chat.completions.create(model=TOOLED, messages=again, tools=[TOOL], max_tokens=8)
    assert told.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_chat_streams_a_call(client):
    with client.chat.completions.stream(
        model=TOOLED, messages=HI, tools=[TOOL], tool_choice="required", max_tokens=100, temperature=0
    ) as stream:
        final = stream.get_final_completion()
    [call, *_] = final.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    json.loads(call.function.arguments)


async def test_chat_async(async_client):
    stream = await async_client.chat.completions.create(model=MODEL, messages=HI, max_tokens=8, stream=True)
    parts = [part async for part in stream]
    assert parts[-1].choices[0].finish_reason in ("stop", "length")


def test_completions(client):
    reply = client.completions.create(
        model=MODEL, prompt=["One, two,", "A, b,"], max_tokens=4, temperature=0, echo=True, logprobs=1
    )
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].text.startswith("One, two,")
    assert reply.choices[0].logprobs.token_logprobs[0] is None
    parts = list(client.completions.create(model=MODEL, prompt="One, two,", max_tokens=4, stream=True))
    assert parts[-1].choices[0].finish_reason == "length"


def test_embeddings(client):
    reply = client.embeddings.create(model="embedder", input=["a hare", "a rabbit"])  # which asks for base64
    numbers = client.embeddings.create(model="embedder", input="a hare", encoding_format="float")
    assert reply.data[0].embedding == pytest.approx(numbers.data[0].embedding, abs=1e-4)
    assert reply.usage.total_tokens > 0


def test_responses(client):
    reply = client.responses.create(model=MODEL, input="Say hi.", max_output_tokens=16, temperature=0)
    assert reply.output_text
    assert client.responses.retrieve(reply.id).output_text == reply.output_text
    assert client.responses.input_items.list(reply.id).data[0].role == "user"
    more = client.responses.create(
        model=MODEL, input="Again.", previous_response_id=reply.id, max_output_tokens=16
    )
    assert more.previous_response_id == reply.id
    assert more.usage.input_tokens > reply.usage.input_tokens
    client.responses.delete(reply.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(reply.id)


def test_responses_stream(client):
    with client.responses.stream(
        model=MODEL, input="Say hi.", max_output_tokens=400, temperature=0
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text


def test_responses_parse(client):
    reply = client.responses.parse(
        model=MODEL, input="Say hi.", text_format=Verdict, max_output_tokens=200, temperature=0
    )
    assert isinstance(reply.output_parsed, Verdict)


def test_responses_call(client):
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
    reply = client.responses.create(
        model=TOOLED, input="How is the weather?", tools=[tool], tool_choice="required", max_output_tokens=100
    )
    [call] = [item for item in reply.output if item.type == "function_call"][:1]
    assert call.name == "get_weather"
    json.loads(call.arguments)


def test_responses_in_the_background(client):
    reply = client.responses.create(model=MODEL, input="Say hi.", background=True, max_output_tokens=4000)
    assert reply.status in ("queued", "in_progress", "completed")
    assert client.responses.cancel(reply.id).status in ("cancelled", "completed", "incomplete")


def test_what_is_wrong_is_told(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=HI, temperature=9)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=[])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody-has-this", messages=HI)
