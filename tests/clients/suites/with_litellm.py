"""`litellm` as a client of a Hutch server: as OpenAI's, Ollama's and Anthropic's API."""

import json
import os

import litellm
import pytest
from pydantic import BaseModel

URL = os.environ["OLLAMA_HOST"]
MODEL, TOOLED = "smollm2:135m", "llama3.1"
HI = [{"role": "user", "content": "Say hi."}]
OPENAI = {"api_base": f"{URL}/v1", "api_key": "none"}
OLLAMA = {"api_base": URL}
ANTHROPIC = {"api_base": URL, "api_key": "none"}
WAYS = pytest.mark.parametrize(
    ("prefix", "where"),
    [("openai", OPENAI), ("ollama_chat", OLLAMA), ("ollama", OLLAMA), ("anthropic", ANTHROPIC)],
    ids=["openai", "ollama_chat", "ollama", "anthropic"],
)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "maxLength": 20}},
            "required": ["location"],
        },
    },
}


class Verdict(BaseModel):
    """What a parsed answer is."""

    is_good: bool
    count: int


@WAYS
def test_completion(prefix, where):
    reply = litellm.completion(f"{prefix}/{MODEL}", HI, max_tokens=8, temperature=0, **where)
    assert reply.choices[0].message.content
    assert reply.usage.completion_tokens > 0


@WAYS
def test_stream(prefix, where):
    parts = list(litellm.completion(f"{prefix}/{MODEL}", HI, max_tokens=8, stream=True, **where))
    assert "".join(part.choices[0].delta.content or "" for part in parts)


@WAYS
async def test_async(prefix, where):
    reply = await litellm.acompletion(f"{prefix}/{MODEL}", HI, max_tokens=4, **where)
    assert reply.choices[0].message.content


@pytest.mark.parametrize(("prefix", "where"), [("openai", OPENAI), ("anthropic", ANTHROPIC)])
def test_tool(prefix, where):
    reply = litellm.completion(
        f"{prefix}/{TOOLED}",
        [{"role": "user", "content": "How is the weather in Paris?"}],
        tools=[TOOL],
        tool_choice="required",
        max_tokens=100,
        temperature=0,
        **where,
    )
    call = reply.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["location"]


@pytest.mark.parametrize(("prefix", "where"), [("openai", OPENAI), ("ollama_chat", OLLAMA)])
def test_structured(prefix, where):
    reply = litellm.completion(
        f"{prefix}/{MODEL}", HI, response_format=Verdict, max_tokens=200, temperature=0, **where
    )
    Verdict.model_validate_json(reply.choices[0].message.content)


def test_text_completion():
    reply = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", prompt="One, two,", max_tokens=4, **OPENAI
    )
    assert reply.choices[0].text


@pytest.mark.parametrize(("prefix", "where"), [("openai", OPENAI), ("ollama", OLLAMA)])
def test_embedding(prefix, where):
    reply = litellm.embedding(f"{prefix}/embedder", input=["a hare", "a rabbit"], **where)
    assert len(reply.data) == 2
    assert len(reply.data[0]["embedding"]) > 1


def test_rerank_of_a_model_that_cannot():
    asked = {"query": "a hare", "documents": ["a rabbit", "tax"]}
    with pytest.raises(litellm.BadRequestError, match="does not support rerank"):
        litellm.rerank(model=f"jina_ai/{MODEL}", **asked, **OPENAI)


def test_responses():
    reply = litellm.responses(input="Say hi.", model=f"openai/{MODEL}", max_output_tokens=16, **OPENAI)
    assert reply.output[0].content[0].text


def test_what_is_wrong_is_told():
    with pytest.raises(litellm.NotFoundError):
        litellm.completion("openai/nobody-has-this", HI, **OPENAI)
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(f"openai/{MODEL}", HI, temperature=9, **OPENAI)
