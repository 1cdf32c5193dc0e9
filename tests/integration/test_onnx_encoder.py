"""ONNX encoders behind the whole server: tiny ones that embed and rank."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Server, clean_environment, free_port
from tests.onnx_encoders import CLS, SEP, WORDS, Tiny, encoder


def hutch(home: Path, models: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "hutch", *words],
        env=clean_environment(
            HUTCH_HOME=str(home), HUTCH_MODELS=str(models), HUTCH_HOST=f"127.0.0.1:{free_port()}"
        ),
        check=True,
        capture_output=True,
        timeout=200,
    )


def create(folder: Path, name: str, source: Path) -> None:
    (folder / "Modelfile").write_text(f"FROM {source}\n")
    hutch(folder / "home", folder / "models", "create", name, "-f", str(folder / "Modelfile"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tiny, Tiny]:
    folder = tmp_path_factory.mktemp("encoders")
    embedder, ranker = encoder(folder / "embedder"), encoder(folder / "ranker", labels=1)
    create(folder, "embedder", embedder.folder)
    create(folder, "ranker", ranker.folder)
    return folder / "models", embedder, ranker


@pytest.fixture(scope="module")
def house(serve: Callable[..., Server], tiny: tuple[Path, Tiny, Tiny]) -> Server:
    return serve(tiny[0])


def close(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(one, other, strict=True))


def test_an_onnx_encoder_embeds_by_every_route(house: Server, tiny: tuple[Path, Tiny, Tiny]) -> None:
    wanted: list[float] = tiny[1].mean([CLS, WORDS.index("a"), WORDS.index("b"), SEP]).tolist()
    _, one = house.post("/api/embed", {"model": "embedder", "input": "a b"})
    _, old = house.post("/api/embeddings", {"model": "embedder", "prompt": "a b"})
    _, openai = house.post("/v1/embeddings", {"model": "embedder", "input": ["a b", "c"]})
    assert one["prompt_eval_count"] == 4
    assert openai["usage"]["prompt_tokens"] == 7
    for vector in (one["embeddings"][0], old["embedding"], openai["data"][0]["embedding"]):
        assert close(vector, wanted)


def test_what_is_too_long_is_cut_or_refused_with_its_place(house: Server) -> None:
    long, same = "a " * 500, "a " * 30
    _, cut = house.post("/api/embed", {"model": "embedder", "input": long})
    _, whole = house.post("/api/embed", {"model": "embedder", "input": same})
    assert cut["prompt_eval_count"] == 32
    assert close(cut["embeddings"][0], whole["embeddings"][0])
    status, reply = house.post("/api/embed", {"model": "embedder", "input": ["a", long], "truncate": False})
    assert (status, reply["error"]) == (400, "input.1: the input length exceeds the context length")


def test_requests_at_once_get_their_own_vectors(house: Server) -> None:
    texts = [" ".join("abcdefghij"[index % 10] for index in range(length)) for length in range(1, 25)]
    alone = [
        house.post("/api/embed", {"model": "embedder", "input": text})[1]["embeddings"][0] for text in texts
    ]
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(
                lambda text: house.post("/api/embed", {"model": "embedder", "input": [text, "a"]}), texts
            )
        )
    for vector, (status, reply) in zip(alone, replies, strict=True):
        assert status == 200
        assert close(reply["embeddings"][0], vector)


def test_an_onnx_reranker_ranks(house: Server, tiny: tuple[Path, Tiny, Tiny]) -> None:
    documents = ["a", "b c d", "j i h g", "e " * 200]
    status, reply = house.post("/v1/rerank", {"model": "ranker", "query": "f g", "documents": documents})
    assert status == 200, reply
    assert sorted(row["index"] for row in reply["results"]) == [0, 1, 2, 3]
    ids = [CLS, WORDS.index("f"), WORDS.index("g"), SEP, WORDS.index("a"), SEP]
    wanted = 1 / (1 + math.exp(-tiny[2].logits(ids, [0, 0, 0, 0, 1, 1])[0]))
    (found,) = [row["relevance_score"] for row in reply["results"] if row["index"] == 0]
    assert math.isclose(found, wanted, abs_tol=1e-5)


def test_they_are_told_of_as_what_they_are(house: Server) -> None:
    assert house.post("/api/show", {"model": "embedder"})[1]["capabilities"] == ["embedding"]
    assert house.post("/api/show", {"model": "ranker"})[1]["capabilities"] == ["rerank"]
    for name, path, body in (
        ("embedder", "/v1/rerank", {"query": "a", "documents": ["a"]}),
        ("ranker", "/v1/embeddings", {"input": "a"}),
        ("embedder", "/api/generate", {"prompt": "a"}),
    ):
        status, reply = house.post(path, {"model": name, **body})
        assert (status, "does not support" in json.dumps(reply)) == (400, True)
