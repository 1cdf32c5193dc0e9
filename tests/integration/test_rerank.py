"""A reranker of random weights on the real engine, asked at `/v1/rerank`: the shape proven, not the quality."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hutch.formats.gguf_writer import NewTensor, entries
from hutch.store.conversion import architectures
from tests import hf_folders
from tests.conftest import Server, clean_environment, free_port

RANK = 4  # llama.cpp's pooling type
DOCUMENTS = ["a", "c c", "ab", "c ab a"]


def ranker(folder: Path, path: Path) -> None:
    """Write a BERT with a head that scores."""
    hf_folders.bert(folder)
    new = architectures.converted({each.name: each for each in folder.iterdir()})
    numbers = np.random.default_rng(3)

    def tensor(name: str, *shape: int) -> NewTensor:
        data = numbers.normal(0, 0.5, shape).astype("<f4").tobytes()
        return NewTensor(name, tuple(reversed(shape)), "F32", lambda: [data])

    shapes = {
        "cls.weight": (32, 32),
        "cls.bias": (32,),
        "cls.output.weight": (1, 32),
        "cls.output.bias": (1,),
    }
    head = tuple(tensor(name, *shape) for name, shape in shapes.items())
    more = entries({"bert.pooling_type": RANK})
    with path.open("wb") as file:
        file.writelines(replace(new, entries={**new.entries, **more}, tensors=new.tensors + head).pieces())


@pytest.fixture(scope="module")
def house(serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("rerank")
    ranker(folder / "hf", folder / "ranker.gguf")
    hf_folders.bert(folder / "embedder")
    models = folder / "models"
    for name, source in (("ranker", "ranker.gguf"), ("embedder", "embedder")):
        (folder / "Modelfile").write_text(f"FROM ./{source}\n")
        subprocess.run(
            [sys.executable, "-m", "hutch", "create", name, "-f", str(folder / "Modelfile")],
            env=clean_environment(
                HUTCH_HOME=str(folder / "home"),
                HUTCH_MODELS=str(models),
                HUTCH_HOST=f"127.0.0.1:{free_port()}",
            ),
            check=True,
            capture_output=True,
            timeout=60,
        )
    return serve(models)


def ask(server: Server, **fields: Any) -> Any:
    body = {"model": "ranker", "query": "c", "documents": DOCUMENTS} | fields
    status, reply = server.post("/v1/rerank", body)
    assert status == 200, reply
    return reply


def test_every_document_is_scored_and_the_best_come_first(house: Server) -> None:
    reply = ask(house)
    scores = [row["relevance_score"] for row in reply["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(row["index"] for row in reply["results"]) == [0, 1, 2, 3]
    assert len(set(scores)) == 4
    # [CLS] c [SEP] document: of this vocabulary the engine leaves the last [SEP] out
    assert reply["usage"]["prompt_tokens"] == 4 * 3 + 1 + 2 + 2 + 4


def test_a_document_has_its_score_in_any_company(house: Server) -> None:
    together = {row["index"]: row["relevance_score"] for row in ask(house)["results"]}
    for index, document in enumerate(DOCUMENTS):
        (alone,) = ask(house, documents=[document])["results"]
        assert alone["relevance_score"] == pytest.approx(together[index], abs=1e-4)


def test_the_best_with_their_texts(house: Server) -> None:
    (best,) = ask(house, top_n=1, return_documents=True)["results"]
    assert best["document"] == {"text": DOCUMENTS[best["index"]]}


def test_a_long_document_is_cut(house: Server) -> None:
    (cut,) = ask(house, documents=["a " * 300])["results"]
    (same,) = ask(house, documents=["a " * 11])["results"]
    assert cut["relevance_score"] == pytest.approx(same["relevance_score"], abs=1e-5)
    status, reply = house.post("/v1/rerank", {"model": "ranker", "query": "c " * 40, "documents": ["a"]})
    assert (status, reply["error"]["code"]) == (400, "context_length_exceeded")


def test_a_model_without_a_template_has_none(house: Server) -> None:
    told = house.get("/tokenizer_info?model=ranker")
    assert told == {
        "bos_token": "[CLS]",
        "eos_token": None,
        "chat_template": None,
        "model_max_length": told["model_max_length"],
    }


def scores(server: Server, **body: Any) -> list[float]:
    status, reply = server.post("/v1/score", body)
    assert status == 200, reply
    assert [row["index"] for row in reply["data"]] == list(range(len(reply["data"])))
    return [row["score"] for row in reply["data"]]


def test_pairs_are_scored_as_the_ranking_scores_them(house: Server) -> None:
    ranked = {row["index"]: row["relevance_score"] for row in ask(house)["results"]}
    expected = [ranked[index] for index in range(4)]
    assert scores(house, model="ranker", text_1="c", text_2=DOCUMENTS) == pytest.approx(expected, abs=1e-4)
    paired = scores(house, model="ranker", queries=["c"] * 4, documents=DOCUMENTS)
    assert paired == pytest.approx(expected, abs=1e-4)
    (single,) = scores(house, model="ranker", text_1=["a"], text_2=DOCUMENTS[1])
    mixed = scores(house, model="ranker", text_1=["c", "a", "c"], text_2=[DOCUMENTS[0], DOCUMENTS[1], "ab"])
    assert mixed == pytest.approx([expected[0], single, expected[2]], abs=1e-4)


def test_an_embedding_model_scores_by_the_angle(house: Server) -> None:
    texts = ["a", "c c"]
    status, reply = house.post("/v1/embeddings", {"model": "embedder", "input": texts})
    assert status == 200
    one, other = (row["embedding"] for row in reply["data"])
    cosine = float(np.dot(one, other))
    assert scores(house, model="embedder", text_1="a", text_2=texts) == pytest.approx([1.0, cosine], abs=1e-4)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text_1": "a"}, "text_2"),
        ({"text_1": [], "text_2": "a"}, "text_1"),
        ({"text_1": ["a", "a"], "text_2": ["a"]}, "text_1"),
        ({"text_1": "a", "text_2": ["a", " "]}, "text_2"),
        ({"text_1": "a", "text_2": ["a"] * 4097}, "text_2"),
        ({"text_1": "a", "text_2": 7}, "text_2"),
        ({"text_1": "a", "text_2": "a", "use_activation": False}, "use_activation"),
    ],
)
def test_pairs_that_are_none_are_refused(house: Server, body: dict[str, Any], field: str) -> None:
    status, reply = house.post("/v1/score", {"model": "ranker", **body})
    assert (status, reply["error"]["param"].split(".")[0]) == (400, field)


def test_models_are_asked_for_what_they_can(house: Server) -> None:
    assert house.post("/api/show", {"model": "ranker"})[1]["capabilities"] == ["rerank"]
    status, reply = house.post("/v1/rerank", {"model": "embedder", "query": "a", "documents": ["a"]})
    assert (status, reply["error"]["message"].split(".")[0]) == (
        400,
        '"embedder:latest" does not support rerank',
    )
    status, reply = house.post("/api/embed", {"model": "ranker", "input": "a"})
    assert (status, reply["error"]) == (400, '"ranker:latest" does not support embed')
    status, reply = house.post(
        "/api/chat", {"model": "ranker", "messages": [{"role": "user", "content": "a"}]}
    )
    assert (status, reply["error"]) == (400, '"ranker" does not support chat')
    assert house.post("/v1/rerank", {"model": "nosuch", "query": "a", "documents": ["a"]})[0] == 404
