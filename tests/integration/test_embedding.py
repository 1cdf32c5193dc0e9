"""all-minilm: pulled as safetensors, converted, and asked for vectors by every route."""

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODEL as WRITER
from tests.conftest import Server, clean_environment, free_port
from tests.contract.live import own_models

MODEL = "all-minilm"
KNOWN: Any = json.loads(
    (Path(__file__).parent.parent / "data" / "all_minilm.json").read_text(encoding="utf-8")
)
PROMPT: str = KNOWN["prompt"]


@pytest.fixture(scope="module")
def embedder(
    serve: Callable[..., Server], models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    folder = own_models(models_dir, tmp_path_factory.mktemp("embedding-models"))
    home = str(tmp_path_factory.mktemp("embedding-home"))
    address = f"127.0.0.1:{free_port()}"
    subprocess.run(
        [sys.executable, "-m", "hutch", "pull", MODEL],
        env=clean_environment(HUTCH_HOME=home, HUTCH_MODELS=str(folder), HUTCH_HOST=address),
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert not list((folder / "blobs").glob("*partial*"))
    server = serve(folder)
    (server.home / "models").symlink_to(folder)
    return server


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


def test_vectors_are_ollamas_by_every_route(embedder: Server) -> None:
    _, one = embedder.post("/api/embed", {"model": MODEL, "input": PROMPT})
    _, two = embedder.post("/api/embed", {"model": MODEL, "input": [PROMPT, "why is the grass green?"]})
    _, old = embedder.post("/api/embeddings", {"model": MODEL, "prompt": PROMPT})
    _, openai = embedder.post("/v1/embeddings", {"model": MODEL, "input": PROMPT})
    assert (one["prompt_eval_count"], two["prompt_eval_count"]) == (8, 16)
    assert openai["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    vectors = (one["embeddings"][0], two["embeddings"][0], old["embedding"], openai["data"][0]["embedding"])
    for vector in vectors:
        assert _cosine(vector, KNOWN["vector"]) > 0.99999
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


def test_tokens_are_counted_as_tokenizers_counts_them(embedder: Server) -> None:
    for text, count in KNOWN["tokens"].items():
        reply = embedder.post("/api/embed", {"model": MODEL, "input": text})[1]
        assert reply["prompt_eval_count"] == count, text


def test_a_batch_gives_each_text_the_vector_that_it_has_alone(embedder: Server) -> None:
    texts = [f"{number} short texts" for number in range(40)]
    together = embedder.post("/api/embed", {"model": MODEL, "input": texts})[1]["embeddings"]
    for text, vector in zip(texts[::13], together[::13], strict=True):
        alone = embedder.post("/api/embed", {"model": MODEL, "input": text})[1]["embeddings"][0]
        assert _cosine(alone, vector) > 0.9999


def test_what_is_too_long_is_cut_or_refused_with_its_place(embedder: Server) -> None:
    long = "word " * 500
    cut = embedder.post("/api/embed", {"model": MODEL, "input": long})[1]
    same = embedder.post("/api/embed", {"model": MODEL, "input": "word " * 254})[1]
    assert cut["prompt_eval_count"] == same["prompt_eval_count"] == 256
    assert _cosine(cut["embeddings"][0], same["embeddings"][0]) > 0.9999
    status, reply = embedder.post("/api/embed", {"model": MODEL, "input": ["a", long], "truncate": False})
    assert (status, reply["error"]) == (400, "input.1: the input length exceeds the context length")


def test_a_context_shorter_than_the_text_cuts_or_refuses_it(embedder: Server) -> None:
    def embed(text: str | list[str], num_ctx: int, **more: Any) -> tuple[int, Any]:
        asked = {"model": MODEL, "input": text, "options": {"num_ctx": num_ctx}, **more}
        return embedder.post("/api/embed", asked)

    text = "why is the sky blue?"
    why = embedder.post("/api/embed", {"model": MODEL, "input": "why"})[1]["embeddings"][0]
    for more in ({}, {"truncate": True}):
        reply = embed(text, 3, **more)[1]
        assert reply["prompt_eval_count"] == 3
        assert _cosine(reply["embeddings"][0], why) > 0.9999
    status, reply = embed(text, 3, truncate=False)
    assert (status, reply["error"]) == (400, "the input length exceeds the context length")
    for num_ctx in (1, 2):
        status, reply = embed(text, num_ctx)
        assert (status, reply["error"]) == (400, "input after truncation exceeds maximum context length")
    assert embed("why is the sky blue? Why is the sky blue? hi there my", 16)[1]["prompt_eval_count"] == 16
    assert embed(["short", "long " * 100, "medium text"], 30)[1]["prompt_eval_count"] == 3 + 30 + 4
    whole = embed(text, 256)[1]
    assert whole["prompt_eval_count"] == 8
    assert [row["context_length"] for row in embedder.get("/api/ps")["models"]] == [256]


def test_a_bad_item_is_named(embedder: Server) -> None:
    for path, words in (
        ("/api/embed", "invalid input type: input.3 is no text"),
        ("/v1/embeddings", "input.3: Input should be a valid string"),
    ):
        status, reply = embedder.post(path, {"model": MODEL, "input": ["a", "b", "c", 4]})
        assert status == 400
        assert words in json.dumps(reply)


def test_dimensions_cut_and_make_of_unit_length_again(embedder: Server) -> None:
    vector = embedder.post("/api/embed", {"model": MODEL, "input": PROMPT, "dimensions": 64})[1][
        "embeddings"
    ][0]
    assert len(vector) == 64
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-6)
    assert _cosine(vector, KNOWN["vector"][:64]) > 0.9999


def test_it_is_told_of_as_what_it_is(embedder: Server) -> None:
    shown = embedder.post("/api/show", {"model": MODEL})[1]
    assert shown["capabilities"] == ["embedding"]
    assert shown["details"]["quantization_level"] == "F16"
    assert shown["details"]["family"] == "bert"
    assert "num_ctx" in shown["parameters"]
    (running,) = embedder.get("/api/ps")["models"]
    assert running["context_length"] == 256
    assert running["size"] < 400 << 20
    assert running["engine"] == "onnxruntime"
    assert running["hardware"]["provider"] == "cpu"


def test_llama_cpp_embeds_it_where_layers_are_asked_for_on_a_gpu(embedder: Server) -> None:
    asked = {"model": MODEL, "input": [PROMPT, "tokens " * 300]}
    ours = embedder.post("/api/embed", asked)[1]
    theirs = embedder.post("/api/embed", {**asked, "options": {"num_gpu": 1}})[1]
    (running,) = embedder.get("/api/ps")["models"]
    assert running["engine"] == "llama.cpp"
    assert ours["prompt_eval_count"] == theirs["prompt_eval_count"]
    for one, other in zip(ours["embeddings"], theirs["embeddings"], strict=True):
        assert _cosine(one, other) > 0.9999
    assert embedder.post("/api/generate", {"model": MODEL, "keep_alive": 0})[0] == 200


def test_a_killed_worker_is_replaced(embedder: Server) -> None:
    before = embedder.post("/api/embed", {"model": MODEL, "input": PROMPT})[1]["embeddings"]
    (running,) = embedder.get("/api/ps")["models"]
    os.kill(running["pid"], signal.SIGKILL)
    status, reply = embedder.post("/api/embed", {"model": MODEL, "input": PROMPT})
    assert (status, reply.get("embeddings")) == (200, before)


def test_tokens_are_taken_where_the_model_has_them(embedder: Server) -> None:
    (tokens, whole) = (
        embedder.post("/v1/embeddings", {"model": MODEL, "input": given})[1]
        for given in ([[101, 2339, 2003, 1996, 3712, 2630, 1029, 102]], PROMPT)
    )
    assert _cosine(tokens["data"][0]["embedding"], whole["data"][0]["embedding"]) > 0.99999
    status, reply = embedder.post("/v1/embeddings", {"model": MODEL, "input": [[101, 1 << 20, 102]]})
    assert status == 400, reply


def test_documents_are_searched_by_meaning_where_there_is_an_embedding_model(embedder: Server) -> None:
    wanted = "Physicians treat employees free of charge on Mondays."
    chapters = (
        "The printer takes paper of any size. ",
        "Bicycles stand behind the kitchen. ",
        "Tea is at four. ",
    )
    parts = [chapter * 60 for chapter in chapters]
    text = "\n".join((*parts, wanted + " That is so in every year. " * 30, *parts)).encode()
    digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert embedder.post(f"/api/blobs/{digest}", text)[0] == 201
    made = {"model": "house", "from": WRITER, "documents": {"house.txt": digest}, "stream": False}
    status, reply = embedder.post("/api/create", {**made, "parameters": {"num_ctx": 1024}})
    assert status == 200, reply
    question = {"role": "user", "content": "doctor for sick staff?"}  # not a word of the document's
    told = {"model": "house", "messages": [question], "_debug_render_only": True, "stream": False}
    status, reply = embedder.post("/api/chat", told)
    assert status == 200, reply
    assert wanted in reply["_debug_info"]["rendered_template"]
    (kept,) = (embedder.home / "models" / ".vectors").iterdir()
    assert kept.name.split("-")[1] == digest.removeprefix("sha256:")
    assert kept.stat().st_size % (384 * 4) == 0
    assert {row["name"] for row in embedder.get("/api/ps")["models"]} >= {"all-minilm:latest", "house:latest"}
