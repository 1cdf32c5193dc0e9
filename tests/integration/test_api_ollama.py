"""Ollama's client against a real server with the real model."""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import ollama
import pytest
from pydantic import BaseModel, Field

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import GREEDY, ask, own_models, running, serving

SAY = [{"role": "user", "content": "Why is the sky blue?"}]
FEW = {**GREEDY, "num_predict": 8}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ollama.Client]:
    """Ollama's client."""
    with ollama.Client(host=server.url) as made:
        yield made


class Animal(BaseModel, extra="forbid"):
    """What a model is to fill in."""

    name: Annotated[
        str, Field(max_length=12)
    ]  # bounded, since a model of random weights sees no reason to end
    legs: Annotated[int, Field(ge=0, le=8)]


@EVERY_ENGINE
def test_ollama_chats(client: ollama.Client) -> None:
    reply = client.chat(MODEL, SAY, options=FEW)
    assert reply.message.role == "assistant"
    assert reply.message.content
    assert reply.done
    assert reply.done_reason == "length"
    assert reply.eval_count == 8
    assert reply.prompt_eval_count
    assert reply.prompt_eval_count > 10
    assert reply.total_duration
    assert reply.total_duration > (reply.eval_duration or 0) > 0


@EVERY_ENGINE
def test_ollama_streams_what_it_would_say_at_once(client: ollama.Client) -> None:
    for _ in range(2):  # the second time the prompt is cached, as it will be for the stream
        whole = client.chat(MODEL, SAY, options=FEW).message.content
    chunks = list(client.chat(MODEL, SAY, options=FEW, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == whole
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len(chunks) > 4
    assert all(chunk.created_at for chunk in chunks)


@EVERY_ENGINE
def test_ollamas_async_client_streams_and_asks_at_once(server: Server) -> None:
    async def use() -> tuple[str, list[str | None]]:
        async with ollama.AsyncClient(host=server.url) as client:
            text = ""
            async for chunk in await client.chat(MODEL, SAY, options=FEW, stream=True):
                text += chunk.message.content or ""
            replies = await asyncio.gather(*(client.chat(MODEL, SAY, options=FEW) for _ in range(3)))
        return text, [reply.message.content for reply in replies]

    text, replies = asyncio.run(use())
    assert text
    assert all(replies)


@EVERY_ENGINE
def test_the_same_seed_gives_the_same_text_and_another_one_another(client: ollama.Client) -> None:
    def said(seed: int) -> str:
        options = {"seed": seed, "temperature": 2.0, "num_predict": 6, "top_k": 0, "top_p": 1.0}
        return str(client.generate(MODEL, "A poem:", raw=True, options=options).response)

    said(1)  # from here on the prompt is cached
    assert said(1) == said(1)
    assert said(2) != said(1)


@EVERY_ENGINE
def test_generate_ends_before_a_stop_text(client: ollama.Client) -> None:
    text = client.generate(MODEL, "1, 2, 3, 4,", raw=True, options={**GREEDY, "stop": [" 7"]})
    assert "7" not in (text.response or "")
    assert "5" in (text.response or "")
    assert text.done_reason == "stop"


@EVERY_ENGINE
def test_an_answer_ends_before_a_stop_text_that_spans_its_tokens(client: ollama.Client) -> None:
    usual = (
        client.generate(MODEL, "1, 2, 3, 4,", raw=True, options={**GREEDY, "num_predict": 16}).response or ""
    )
    stop = usual[5:9]
    reply = client.generate(
        MODEL, "1, 2, 3, 4,", raw=True, options={**GREEDY, "num_predict": 16, "stop": [stop]}
    )
    assert reply.response == usual[: usual.index(stop)]
    assert reply.done_reason == "stop"


@EVERY_ENGINE
def test_a_model_that_writes_nothing_is_loaded_by_its_engine(
    client: ollama.Client, server: Server, request: pytest.FixtureRequest
) -> None:
    client.generate(MODEL, "")
    assert running(server)[MODEL]["engine"] == {"gguf": "llama.cpp", "onnx": "onnxruntime"}[_engine(request)]


def _engine(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["models_dir"])


@EVERY_ENGINE
def test_raw_generates_from_the_prompt_as_it_stands(client: ollama.Client) -> None:
    raw = client.generate(MODEL, "The capital of France is", raw=True, options=FEW)
    cooked = client.generate(MODEL, "The capital of France is", options=FEW)
    assert raw.prompt_eval_count == 5
    assert cooked.prompt_eval_count
    assert cooked.prompt_eval_count > 20
    assert raw.context is None
    assert "Paris" in (raw.response or "")


@EVERY_ENGINE
def test_a_context_is_taken_up_where_it_was_left(client: ollama.Client) -> None:
    first = client.generate(MODEL, "My name is Ada. Say hello.", options=FEW)
    assert first.context
    second = client.generate(MODEL, "What is my name?", context=first.context, options=FEW)
    assert second.context
    assert list(second.context[: len(first.context)]) == list(first.context)
    assert len(second.context) > len(first.context) + 8
    assert second.prompt_eval_count
    assert second.prompt_eval_count > len(first.context)


@EVERY_ENGINE
def test_a_system_text_and_a_template_change_the_prompt(client: ollama.Client) -> None:
    plain = client.generate(MODEL, "Hi", options=FEW).prompt_eval_count
    told = client.generate(MODEL, "Hi", system="You are a pirate, and a very rude one.", options=FEW)
    bare = client.generate(MODEL, "Hi", template="{{ .Prompt }}", options=FEW)
    assert told.prompt_eval_count != plain
    assert bare.prompt_eval_count
    assert bare.prompt_eval_count < 3


@EVERY_ENGINE
def test_json_is_json(client: ollama.Client) -> None:
    options = {**GREEDY, "num_predict": 200}
    prompt = 'Answer with a short JSON object like {"name": "Ada"}.'
    for text in (
        client.generate(MODEL, prompt, format="json", options=options).response,
        client.chat(
            MODEL, [{"role": "user", "content": prompt}], format="json", options=options
        ).message.content,
        client.generate(MODEL, prompt, format="json", raw=True, options=options).response,
    ):
        assert isinstance(json.loads(text or ""), dict)


@EVERY_ENGINE
def test_a_schema_is_kept(client: ollama.Client) -> None:
    schema = Animal.model_json_schema()
    prompt = [{"role": "user", "content": "Describe a dog as JSON with name and legs."}]
    reply = client.chat(MODEL, prompt, format=schema, options={**GREEDY, "num_predict": 100})
    assert Animal.model_validate_json(reply.message.content or "")


@EVERY_ENGINE
def test_log_probabilities_come_with_each_token(server: Server) -> None:
    body = {"model": MODEL, "messages": SAY, "options": {"num_predict": 3, "temperature": 0}, "stream": False}
    reply = ask(server, "POST", "/api/chat", {**body, "logprobs": True, "top_logprobs": 2}).json
    assert len(reply["logprobs"]) == 3
    for entry in reply["logprobs"]:
        assert entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 2
        assert entry["top_logprobs"][0]["token"] == entry["token"]  # greedy
    assert "".join(entry["token"] for entry in reply["logprobs"]) == reply["message"]["content"]
    stream = ask(server, "POST", "/api/chat", {**body, "stream": True, "logprobs": True}).lines
    assert sum(len(line.get("logprobs", [])) for line in stream) == 3


@EVERY_ENGINE
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/v1/chat/completions"])
@pytest.mark.parametrize("stop", [None, "说"])
def test_the_bytes_of_log_probabilities_are_the_answer(server: Server, path: str, stop: str | None) -> None:
    said = "🦜 你好说 é🦜"  # most are several tokens each
    form = {"type": "object", "properties": {"a": {"const": said}}, "required": ["a"]}
    asked: dict[str, Any] = {"model": MODEL, "logprobs": True, "top_logprobs": 3, "stream": False}
    if path.startswith("/v1"):
        asked |= {"temperature": 0, "max_tokens": 80, "messages": SAY} | ({"stop": stop} if stop else {})
        asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": form}}
    else:
        options = {**GREEDY, "num_predict": 80} | ({"stop": [stop]} if stop else {})
        asked |= {"format": form, "options": options, "messages": SAY, "prompt": "Parrot?"}
    reply = ask(server, "POST", path, asked).json
    if path.startswith("/v1"):
        [choice] = reply["choices"]
        text, entries = choice["message"]["content"], choice["logprobs"]["content"]
    else:
        text = reply["response"] if path == "/api/generate" else reply["message"]["content"]
        entries = reply["logprobs"]
    assert text.split('"')[3] == (said if stop is None else "🦜 你好")
    assert b"".join(bytes(entry["bytes"]) for entry in entries) == text.encode()
    for entry in entries:
        for told in (entry, *entry["top_logprobs"]):
            assert told["token"] == bytes(told["bytes"]).decode(errors="replace")


def test_ollama_embeds_one_text_or_several(client: ollama.Client) -> None:
    one = client.embed(MODEL, "cat").embeddings
    several = client.embed(MODEL, ["cat", "dog", "cat"]).embeddings
    assert len(one) == 1
    assert len(several) == 3
    assert len(one[0]) == 576
    assert sum(value * value for value in one[0]) == pytest.approx(1, abs=1e-4)
    assert several[0] == pytest.approx(several[2], abs=1e-3)
    assert several[0] != pytest.approx(several[1], abs=1e-3)
    short = client.embed(MODEL, "cat", dimensions=16).embeddings[0]
    assert len(short) == 16
    assert sum(value * value for value in short) == pytest.approx(1, abs=1e-4)
    older = client.embeddings(MODEL, "cat").embedding
    assert len(older) == 576


def test_a_text_too_long_to_embed_is_cut_or_refused(client: ollama.Client) -> None:
    text, options = "word " * 5000, {"num_ctx": 512}
    assert len(client.embed(MODEL, text, options=options).embeddings[0]) == 576
    with pytest.raises(ollama.ResponseError, match="the input length exceeds the context length") as refusal:
        client.embed(MODEL, text, truncate=False, options=options)
    assert refusal.value.status_code == 400


def test_an_empty_text_to_embed_gives_no_vector(client: ollama.Client) -> None:
    assert client.embed(MODEL, "").embeddings == []
    assert client.embed(MODEL, []).embeddings == []


@EVERY_ENGINE
def test_list_show_and_ps_tell_of_the_model(client: ollama.Client) -> None:
    [row] = client.list().models
    assert row.model == MODEL
    assert row.size
    assert row.size > 90 << 20
    assert row.digest
    assert re.fullmatch("[0-9a-f]{64}", row.digest)
    assert row.details
    assert row.details.family == "llama"
    shown = client.show(MODEL)
    assert shown.modelinfo
    assert shown.modelinfo["general.architecture"] == "llama"
    assert "completion" in (shown.capabilities or [])
    assert not shown.modelinfo.get("tokenizer.ggml.tokens")  # which a GGUF file has
    client.generate(MODEL, "Hi", options=FEW)
    [loaded] = client.ps().models
    assert loaded.model == MODEL
    assert loaded.expires_at
    assert loaded.context_length == 4096


def test_pulling_what_is_here_succeeds_at_once(client: ollama.Client) -> None:
    assert client.pull(MODEL).status == "success"
    assert [step.status for step in client.pull(MODEL, stream=True)][-1] == "success"


@EVERY_ENGINE
def test_an_empty_prompt_loads_and_a_keep_alive_of_nought_unloads(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir)
    with ollama.Client(host=server.url) as client:
        assert client.generate(MODEL, "").done_reason == "load"
        assert list(running(server)) == [MODEL]
        assert client.chat(MODEL, [], keep_alive="1h").done_reason == "load"
        assert client.generate(MODEL, "", keep_alive=0).done_reason == "unload"
        assert not running(server)
        assert client.chat(MODEL, [], keep_alive=0).done_reason == "unload"
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
            client.generate("nope", keep_alive=0)


@EVERY_ENGINE
def test_a_long_conversation_that_must_stay_whole_is_refused(server: Server) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "word " * 5000}], "truncate": False}
    reply = ask(server, "POST", "/api/chat", body)
    assert reply.status == 400
    assert "longer than the context" in reply.error
    assert reply.json["hint"]


@EVERY_ENGINE
def test_a_model_that_is_not_here_is_not_found(client: ollama.Client) -> None:
    for ask_for in (client.show, client.delete, lambda name: client.chat(name, SAY)):
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as refusal:
            ask_for("nope")
        assert refusal.value.status_code == 404


@pytest.fixture(scope="module")
def workshop(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ollama.Client]:
    """Ollama's client of a server whose models may be changed."""
    folder = tmp_path_factory.mktemp("workshop")
    with (
        serving(folder / "home", own_models(models_dir, folder / "models")) as server,
        ollama.Client(host=server.url) as made,
    ):
        yield made


@EVERY_ENGINE
def test_a_copy_answers_and_can_be_deleted(workshop: ollama.Client) -> None:
    assert workshop.copy(MODEL, "copied").status == "success"
    assert {row.model for row in workshop.list().models} >= {MODEL, "copied:latest"}
    assert workshop.generate("copied", "Hi", options=FEW).response
    assert workshop.delete("copied").status == "success"
    assert "copied:latest" not in {row.model for row in workshop.list().models}
    assert not [row for row in workshop.ps().models if row.model == "copied:latest"]


@EVERY_ENGINE
def test_a_model_is_made_from_another_one(workshop: ollama.Client) -> None:
    made = workshop.create(
        "made",
        from_=MODEL,
        system="You are a parrot.",
        parameters={"num_predict": 3, "temperature": 0, "num_ctx": 512},
        messages=[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Squawk"}],
    )
    assert made.status == "success"
    shown = workshop.show("made")
    assert "num_predict" in (shown.parameters or "")
    assert "parrot" in (shown.modelfile or "")
    reply = workshop.generate("made", "Hi")
    assert reply.eval_count == 3
    assert [row.context_length for row in workshop.ps().models if row.model == "made:latest"] == [512]
    assert [step.status for step in workshop.create("made", from_=MODEL, stream=True)][-1] == "success"
    workshop.delete("made")


def test_a_model_is_made_from_a_blob_that_was_sent(
    workshop: ollama.Client, models_dir: Path, tmp_path: Path
) -> None:
    [weights] = (path for path in (models_dir / "blobs").iterdir() if path.stat().st_size > 1 << 20)
    digest = workshop.create_blob(weights)
    assert digest == "sha256:" + weights.name.removeprefix("sha256-")
    assert workshop.create("sent", files={"model.gguf": digest}).status == "success"
    assert workshop.generate("sent", "Hi", options=FEW).response
    workshop.delete("sent")
    fresh = tmp_path / "fresh.bin"
    fresh.write_bytes(b"new bytes")
    path = f"/api/blobs/sha256:{hashlib.sha256(b'new bytes').hexdigest()}"
    base = str(workshop._client.base_url)
    house = Server(base.rstrip("/"), tmp_path, None)  # type: ignore[arg-type]
    assert ask(house, "HEAD", path).status == 404
    assert ask(house, "POST", path, b"other bytes").status == 400
    assert ask(house, "POST", path, b"new bytes").status == 201
    assert ask(house, "POST", path, b"new bytes").status == 200
    assert ask(house, "HEAD", path).status == 200


@EVERY_ENGINE
def test_a_long_conversation_loses_its_oldest_turns(workshop: ollama.Client) -> None:
    workshop.create("short", from_=MODEL, parameters={"num_ctx": 256})
    turns = [
        {"role": role, "content": f"{number} " + "word " * 20}
        for number in range(50)
        for role in ("user", "assistant")
    ]
    reply = workshop.chat("short", [*turns, *SAY], options=FEW)
    assert reply.eval_count == 8
    assert reply.prompt_eval_count
    assert 64 < reply.prompt_eval_count < 256
    workshop.delete("short")
