"""OpenAI's client against a real server with the real model."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import ollama
import openai
import pytest
from pydantic import BaseModel, Field

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import ask, eventually, running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ollama.Client]:
    """Ollama's client."""
    with ollama.Client(host=server.url) as made:
        yield made


@pytest.fixture(scope="module")
def gpt(server: Server) -> Iterator[openai.OpenAI]:
    """OpenAI's client."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="not needed", max_retries=0) as made:
        yield made


class Animal(BaseModel):
    """What a model is to fill in."""

    name: Annotated[
        str, Field(max_length=12)
    ]  # bounded, since a model of random weights sees no reason to end
    legs: Annotated[int, Field(ge=0, le=8)]


@EVERY_ENGINE
def test_openai_chats(gpt: openai.OpenAI) -> None:
    reply = gpt.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=4, temperature=0
    )
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage
    assert reply.usage.completion_tokens == 4
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 4


@EVERY_ENGINE
def test_openai_streams_one_role_many_words_and_the_usage(gpt: openai.OpenAI) -> None:
    chunks = list(
        gpt.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hi"}],
            max_completion_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 5


@EVERY_ENGINE
def test_openais_async_client_streams(server: Server) -> None:
    async def use() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as gpt:
            stream = await gpt.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=5, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(use())


@EVERY_ENGINE
def test_openai_completes_and_gives_log_probabilities(gpt: openai.OpenAI) -> None:
    reply = gpt.completions.create(
        model=MODEL, prompt="The capital of France is", max_tokens=4, temperature=0, logprobs=2
    )
    assert "Paris" in reply.choices[0].text
    logprobs = reply.choices[0].logprobs
    assert logprobs
    assert logprobs.tokens
    assert "".join(logprobs.tokens) == reply.choices[0].text
    assert logprobs.text_offset == [0, *(len("".join(logprobs.tokens[:n])) for n in range(1, 4))]
    stream = gpt.completions.create(model=MODEL, prompt="One, two,", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream)


@EVERY_ENGINE
def test_openai_parses_a_schema(gpt: openai.OpenAI) -> None:
    reply = gpt.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe a dog as JSON with name and legs."}],
        response_format=Animal,
        temperature=0,
        max_tokens=100,
    )
    assert isinstance(reply.choices[0].message.parsed, Animal)


@EVERY_ENGINE
def test_openai_keeps_seed_stop_and_bias(gpt: openai.OpenAI) -> None:
    def text(**more: Any) -> str:
        reply = gpt.completions.create(
            model=MODEL, prompt="1, 2, 3, 4,", max_tokens=12, temperature=0, **more
        )
        return str(reply.choices[0].text)

    assert "7" not in text(stop=[" 7"])
    usual = text()
    assert text(seed=7) == usual
    banned = ask_tokens(gpt, " 5")
    assert " 5" not in text(logit_bias={str(token): -100 for token in banned})


def ask_tokens(gpt: openai.OpenAI, text: str) -> list[int]:
    """The tokens of a text, by the context of an answer that has none of its own."""
    base = Server(str(gpt.base_url).removesuffix("/v1/"), Path(), None)  # type: ignore[arg-type]
    body = {"model": MODEL, "prompt": text, "template": "{{ .Prompt }}", "stream": False}
    reply = ask(base, "POST", "/api/generate", body | {"options": {"num_predict": 1, "temperature": 0}}).json
    return list(reply["context"][: reply["prompt_eval_count"]])


def test_openai_embeds_as_numbers_and_as_bytes(gpt: openai.OpenAI, client: ollama.Client) -> None:
    vector = gpt.embeddings.create(model=MODEL, input=["cat"], encoding_format="float").data[0].embedding
    packed = gpt.embeddings.create(model=MODEL, input="cat").data[0].embedding  # base64 on the wire
    assert packed == pytest.approx(vector, abs=1e-5)
    assert list(client.embed(MODEL, "cat").embeddings[0]) == pytest.approx(vector, abs=1e-5)


@EVERY_ENGINE
def test_openai_lists_models(gpt: openai.OpenAI) -> None:
    assert [model.id for model in gpt.models.list()] == [MODEL]
    assert gpt.models.retrieve(MODEL).id == MODEL


@EVERY_ENGINE
def test_a_model_that_is_not_here_is_not_found_by_openai_either(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        gpt.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hi"}])
    assert missing.value.code == "model_not_found"


@EVERY_ENGINE
def test_a_prompt_longer_than_the_context_is_a_bad_request_to_openai(gpt: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "word " * 5000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refusal:
            gpt.chat.completions.create(model=MODEL, messages=messages, stream=stream)
        assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "messages")
        with pytest.raises(openai.BadRequestError) as refusal:
            gpt.completions.create(model=MODEL, prompt="word " * 5000, stream=stream)
        assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "prompt")
        assert "4096" in refusal.value.message


@EVERY_ENGINE
def test_a_bad_request_names_its_parameter_to_openai(gpt: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": 7}]
    with pytest.raises(openai.BadRequestError) as refusal:
        gpt.chat.completions.create(model=MODEL, messages=messages)
    assert str(refusal.value.param).startswith("messages.0.content")


@EVERY_ENGINE
def test_a_gone_client_library_leaves_no_slot_behind(server: Server) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as gpt:
        stream = gpt.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Count to a thousand."}], stream=True
        )
        next(iter(stream))
        stream.close()
    eventually(lambda: not running(server)[MODEL]["busy"], 5, "nothing is being answered")
