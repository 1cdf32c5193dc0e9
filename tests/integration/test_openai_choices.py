"""Several answers to one request of OpenAI's, and prompts told back with their log-probabilities, by real engines."""

import base64
import os
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import eventually, running

IDS = [52, 40, 61, 44, 75, 48, 66, 53]  # letters, in the vocabulary of every model of these tests
NO_ID = 1 << 30
HI: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def gpt(server: Server) -> Iterator[openai.OpenAI]:
    """OpenAI's client."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as made:
        yield made


@EVERY_ENGINE
def test_the_log_probabilities_of_a_prompt_are_those_of_writing_it(gpt: openai.OpenAI) -> None:
    [told] = gpt.completions.create(
        model=MODEL, prompt=IDS, echo=True, logprobs=5, max_tokens=1, temperature=0
    ).choices
    assert told.logprobs
    assert told.logprobs.tokens
    assert told.logprobs.token_logprobs
    assert told.logprobs.top_logprobs
    assert len(told.logprobs.tokens) == len(IDS) + 1
    assert "".join(told.logprobs.tokens) == told.text
    firsts: list[Any] = [told.logprobs.token_logprobs[0], told.logprobs.top_logprobs[0]]
    assert firsts == [None, None]
    for index in range(1, len(IDS)):
        [next_] = gpt.completions.create(
            model=MODEL, prompt=IDS[:index], logprobs=5, max_tokens=1, temperature=0
        ).choices
        assert next_.logprobs
        assert next_.logprobs.top_logprobs
        written, read = next_.logprobs.top_logprobs[0], told.logprobs.top_logprobs[index]
        # An engine that reads several tokens at once rounds otherwise than one that reads them one by one.
        assert max(written.values()) == pytest.approx(max(read.values()), abs=0.05)
        token = told.logprobs.tokens[index]
        assert read[token] == told.logprobs.token_logprobs[index]
        if token in written:
            assert written[token] == pytest.approx(read[token], abs=0.05)


@EVERY_ENGINE
def test_lm_evaluation_harness_finds_what_it_sums_up(gpt: openai.OpenAI) -> None:
    reply = gpt.completions.create(
        model=MODEL, prompt=[IDS, IDS[:3]], echo=True, logprobs=1, max_tokens=1, temperature=0, seed=1234
    )
    for choice, ids in zip(reply.choices, (IDS, IDS[:3]), strict=True):
        assert choice.logprobs
        assert choice.logprobs.token_logprobs
        assert choice.logprobs.top_logprobs
        summed = choice.logprobs.token_logprobs[
            2:-1
        ]  # behind a context of two tokens, without what was written
        assert len(summed) == len(ids) - 2
        assert all(logprob < 0 for logprob in summed)
        top = choice.logprobs.top_logprobs[2:-1]
        assert all(max(likely.values()) >= logprob for likely, logprob in zip(top, summed, strict=True))


def test_a_text_comes_back_as_it_was_with_whole_characters_and_their_places(gpt: openai.OpenAI) -> None:
    text = "The capital of France is Paris 🐇. 東京"
    [told] = gpt.completions.create(model=MODEL, prompt=text, echo=True, logprobs=0, max_tokens=0).choices
    assert told.text == text
    assert told.logprobs
    assert told.logprobs.tokens
    assert told.logprobs.token_logprobs
    assert told.logprobs.text_offset
    places = zip(told.logprobs.tokens, told.logprobs.text_offset, strict=True)
    assert all(text[at:].startswith(token) for token, at in places if "\ufffd" not in token)
    assert None not in told.logprobs.token_logprobs[1:]
    likely = dict(zip(told.logprobs.tokens, told.logprobs.token_logprobs, strict=True))
    assert likely[" Paris"] > -1


@EVERY_ENGINE
def test_each_choice_has_its_index_and_the_prompt_counts_once(gpt: openai.OpenAI) -> None:
    one = gpt.chat.completions.create(model=MODEL, messages=HI, max_tokens=3, seed=7)
    five = gpt.chat.completions.create(model=MODEL, messages=HI, max_tokens=3, seed=7, n=5)
    assert [choice.index for choice in five.choices] == [0, 1, 2, 3, 4]
    assert len({choice.message.content for choice in five.choices}) > 1
    assert one.usage
    assert five.usage
    assert five.usage.prompt_tokens == one.usage.prompt_tokens
    assert one.usage.completion_tokens < five.usage.completion_tokens <= 5 * 3


@EVERY_ENGINE
def test_choices_are_streamed_side_by_side(gpt: openai.OpenAI) -> None:
    stream = gpt.chat.completions.create(
        model=MODEL,
        messages=HI,
        max_tokens=8,
        n=3,
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = stream
    told = [chunk.choices[0] for chunk in chunks]
    assert Counter(choice.index for choice in told if choice.finish_reason) == {0: 1, 1: 1, 2: 1}
    assert Counter(choice.index for choice in told if choice.delta.role) == {0: 1, 1: 1, 2: 1}
    assert last.usage
    assert 3 <= last.usage.completion_tokens <= 24  # any of them may have an early end
    order = [choice.index for choice in told if choice.delta.content]
    assert order != sorted(order)


@EVERY_ENGINE
def test_several_prompts_have_their_answers_in_their_order(gpt: openai.OpenAI) -> None:
    prompts = [f"{number}, " for number in range(12)]
    reply = gpt.completions.create(model=MODEL, prompt=prompts, max_tokens=2, n=2, echo=True)
    assert [choice.index for choice in reply.choices] == list(range(24))
    for choice in reply.choices:
        assert choice.text.startswith(prompts[choice.index // 2])
    stream = gpt.completions.create(model=MODEL, prompt=prompts, max_tokens=2, stream=True)
    ended = Counter(chunk.choices[0].index for chunk in stream if chunk.choices[0].finish_reason)
    assert ended == Counter(range(12))


@EVERY_ENGINE
def test_the_best_of_some_are_given(gpt: openai.OpenAI) -> None:
    reply = gpt.completions.create(model=MODEL, prompt=IDS, max_tokens=3, n=2, best_of=4, seed=7)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].logprobs is None
    assert reply.usage
    assert 4 <= reply.usage.completion_tokens <= 12


@EVERY_ENGINE
def test_a_client_that_leaves_ends_all_its_choices(server: Server, gpt: openai.OpenAI) -> None:
    for num, prompts in ((100, IDS), (1, [IDS] * 100)):
        stream = gpt.completions.create(model=MODEL, prompt=prompts, max_tokens=3000, n=num, stream=True)
        next(iter(stream))
        stream.close()
        eventually(lambda: not running(server)[MODEL]["busy"], 5, "nothing is being answered")
        assert not running(server)[MODEL]["queued"]


@EVERY_ENGINE
def test_a_token_that_the_model_does_not_know_is_a_bad_request(gpt: openai.OpenAI) -> None:
    options: tuple[dict[str, Any], ...] = ({}, {"echo": True}, {"echo": True, "logprobs": 1})
    for more in options:
        with pytest.raises(openai.BadRequestError):
            gpt.completions.create(model=MODEL, prompt=[52, NO_ID], max_tokens=1, **more)


def test_embeddings_take_tokens_texts_and_fewer_dimensions(gpt: openai.OpenAI, server: Server) -> None:
    several = gpt.embeddings.create(model=MODEL, input=[IDS, IDS[:3]], encoding_format="float")
    alone = gpt.embeddings.create(model=MODEL, input=IDS, encoding_format="float")
    assert len(several.data) == 2
    pairs = zip(several.data[0].embedding, alone.data[0].embedding, strict=True)
    assert sum(one * other for one, other in pairs) > 0.98  # in company the engine rounds otherwise
    short = gpt.embeddings.create(model=MODEL, input="cat", dimensions=8, encoding_format="float")
    assert len(short.data[0].embedding) == 8
    assert sum(value * value for value in short.data[0].embedding) == pytest.approx(1)
    body = {"model": MODEL, "input": "cat", "dimensions": 8, "encoding_format": "base64"}
    _, packed = server.post("/v1/embeddings", body)
    unpacked = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(unpacked) == pytest.approx(short.data[0].embedding)
    with pytest.raises(openai.BadRequestError):
        gpt.embeddings.create(model=MODEL, input=[NO_ID])


@EVERY_ENGINE
def test_a_models_own_parameters_are_defaults_here_too(
    serve: Callable[..., Server], models_copy: Path
) -> None:
    server = serve(models_copy)
    parameters = {"num_predict": 3, "temperature": 0}
    status, said = server.post(
        "/api/create", {"model": "short", "from": MODEL, "parameters": parameters, "stream": False}
    )
    assert (status, said["status"]) == (200, "success")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as gpt:
        chats = [gpt.chat.completions.create(model="short", messages=HI) for _ in range(2)]
        text = gpt.completions.create(model="short", prompt=IDS)
        longer = gpt.chat.completions.create(model="short", messages=HI, max_tokens=5)
    usages = [*(chat.usage for chat in chats), text.usage, longer.usage]
    assert [usage and usage.completion_tokens for usage in usages] == [3, 3, 3, 5]
    assert chats[0].choices[0].message.content == chats[1].choices[0].message.content


@EVERY_ENGINE
def test_a_worker_that_is_killed_while_it_tells_a_prompt_back_has_a_successor_that_does(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir)
    assert server.post("/api/generate", {"model": MODEL})[0] == 200
    pid = running(server)[MODEL]["pid"]
    body = {"model": MODEL, "prompt": IDS * 4, "echo": True, "logprobs": 0, "max_tokens": 0}
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(server.post, "/v1/completions", body)
        eventually(lambda: running(server)[MODEL]["busy"], 5, "the prompt is being read")
        os.kill(pid, signal.SIGKILL)
        status, told = reply.result(100)
    assert status == 200
    assert len(told["choices"][0]["logprobs"]["tokens"]) == len(IDS * 4)
    eventually(lambda: running(server)[MODEL]["pid"] not in (pid, None), 10, "another worker has come")


@EVERY_ENGINE
def test_a_worker_that_is_killed_while_it_writes_choices_ends_the_stream_with_an_error(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir)
    assert server.post("/api/generate", {"model": MODEL})[0] == 200
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as gpt:
        stream = gpt.completions.create(model=MODEL, prompt=IDS, n=3, max_tokens=1000, stream=True)
        next(iter(stream))
        os.kill(running(server)[MODEL]["pid"], signal.SIGKILL)
        with pytest.raises(openai.APIError, match="ended before the answer did"):
            list(stream)
