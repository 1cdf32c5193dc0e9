"""What a worker with an encoder answers, asked as the front asks it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from hutch.core.errors import FormatError
from hutch.engines.onnx.encoder import Encoder
from hutch.engines.onnx.encoder_model import of_folder
from hutch.engines.onnx.encoder_wire import EncoderWire
from tests.encoder_server import app
from tests.onnx_encoders import CLS, POSITIONS, SEP, WORDS, Tiny, encoder

A, B = WORDS.index("a"), WORDS.index("b")


class Asked:
    """An encoder behind its routes, and what it is made of."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        model = of_folder(tiny.folder)
        self.wire = EncoderWire(Encoder(model, num_thread=1), model.tokenizer)
        self._client = TestClient(app(self.wire))

    def post(self, path: str, body: object) -> tuple[int, Any]:
        reply = self._client.post(path, json=body)
        return reply.status_code, reply.json()

    def get(self, path: str) -> Any:
        return self._client.get(path).json()


@pytest.fixture
def embedder(tmp_path: Path) -> Iterator[Asked]:
    asked = Asked(encoder(tmp_path))
    yield asked
    asked.wire.close()


@pytest.fixture
def ranker(tmp_path: Path) -> Iterator[Asked]:
    asked = Asked(encoder(tmp_path, labels=1))
    yield asked
    asked.wire.close()


def test_texts_and_tokens_become_vectors_in_their_order(embedder: Asked) -> None:
    status, reply = embedder.post("/v1/embeddings", {"input": ["a", "A b a b", [CLS, A, SEP]]})
    assert status == 200
    assert [row["index"] for row in reply["data"]] == [0, 1, 2]
    wanted = [[CLS, A, SEP], [CLS, A, B, A, B, SEP], [CLS, A, SEP]]
    for row, ids in zip(reply["data"], wanted, strict=True):
        np.testing.assert_allclose(row["embedding"], embedder.tiny.mean(ids), atol=1e-5)
    assert reply["usage"] == {"prompt_tokens": 12, "total_tokens": 12}


@pytest.mark.parametrize("given", ["a b", [CLS, A, B, SEP]])
def test_one_input_may_stand_alone(embedder: Asked, given: object) -> None:
    _, reply = embedder.post("/v1/embeddings", {"input": given, "encoding_format": "base64"})
    vector = np.frombuffer(base64.b64decode(reply["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(vector, embedder.tiny.mean([CLS, A, B, SEP]), atol=1e-5)
    _, older = embedder.post("/embedding", {"content": given})
    np.testing.assert_allclose(older[0]["embedding"][0], vector, atol=1e-6)


def test_what_is_too_long_is_refused_as_llama_server_does(embedder: Asked) -> None:
    fits = "a " * (POSITIONS - 2)
    assert embedder.post("/v1/embeddings", {"input": fits})[0] == 200
    status, reply = embedder.post("/v1/embeddings", {"input": ["a", fits + "a"]})
    assert (status, reply["error"]["type"]) == (400, "exceed_context_size_error")
    assert (reply["error"]["n_prompt_tokens"], reply["error"]["n_ctx"]) == (POSITIONS + 1, POSITIONS)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input.0: a text, or a list of token ids"),
        ({"input": []}, "input.0: a text, or a list of token ids"),
        ({"input": {"a": 1}}, "input.0: a text, or a list of token ids"),
        ({"input": ["a", 4]}, "input.1: a text, or a list of token ids"),
        ({"input": ["a", []]}, "input.1: a text, or a list of token ids"),
        ({"input": ["a", [3, len(WORDS)]]}, "input.1: token ids are from 0 to 17"),
        ({"input": [[-1]]}, "input.0: token ids are from 0 to 17"),
        ({"input": [[1, True]]}, "input.0: token ids are from 0 to 17"),
        ({"input": ["a"] * 4097}, "input: more than 4096 texts"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format: it takes float or base64"),
    ],
)
def test_bad_input_is_named(embedder: Asked, body: object, words: str) -> None:
    status, reply = embedder.post("/v1/embeddings", body)
    assert (status, reply["error"]["type"]) == (400, "invalid_request_error")
    assert words in reply["error"]["message"]


def test_tokens_are_told_without_the_cut_and_the_padding_of_the_file(embedder: Asked) -> None:
    _, whole = embedder.post("/tokenize", {"content": "a z b", "add_special": True})
    assert whole["tokens"] == [CLS, A, WORDS.index("[UNK]"), B, SEP]
    assert embedder.post("/tokenize", {"content": "a b"})[1] == {"tokens": [A, B]}
    assert len(embedder.post("/tokenize", {"content": "a " * 50})[1]["tokens"]) == 50
    pieces = embedder.post("/tokenize", {"content": "ab", "with_pieces": True})[1]["tokens"]
    assert pieces == [{"id": A, "piece": " a"}, {"id": WORDS.index("##b"), "piece": "b"}]
    assert embedder.post("/detokenize", {"tokens": [A, WORDS.index("##b"), B]})[1] == {"content": "ab b"}
    assert embedder.post("/tokenize", {"content": 4})[0] == 400
    named, spelt = (
        embedder.post("/tokenize", {"content": "[SEP]", "parse_special": parse})[1]["tokens"]
        for parse in (True, False)
    )
    assert named == [SEP]
    assert SEP not in spelt


def test_a_long_text_is_taken_apart_beside_the_event_loop(embedder: Asked) -> None:
    assert len(embedder.post("/tokenize", {"content": "a " * 50_000})[1]["tokens"]) == 50_000


def test_documents_come_with_the_best_first(ranker: Asked) -> None:
    documents = ["a", "b c d", "j i h g", "e"]
    status, reply = ranker.post("/rerank", {"query": "f g", "documents": documents})
    assert status == 200
    scores = {}
    for index, document in enumerate(documents):
        words = [WORDS.index(word) for word in document.split()]
        ids = [CLS, WORDS.index("f"), WORDS.index("g"), SEP, *words, SEP]
        logit = ranker.tiny.logits(ids, [0] * 4 + [1] * (len(words) + 1))[0]
        scores[index] = 1 / (1 + np.exp(-logit))
    assert [row["index"] for row in reply["results"]] == sorted(scores, key=lambda index: -scores[index])
    for row in reply["results"]:
        np.testing.assert_allclose(row["relevance_score"], scores[row["index"]], atol=1e-5)
    assert reply["usage"]["total_tokens"] == 4 * 5 + 9
    assert (
        ranker.post("/rerank", {"query": "f g", "documents": documents, "top_n": 2})[1]["results"]
        == reply["results"][:2]
    )


def test_a_long_document_loses_its_end_and_a_long_query_is_refused(ranker: Asked) -> None:
    room = POSITIONS - 3 - 2
    _, cut = ranker.post("/rerank", {"query": "f g", "documents": ["a " * 500]})
    _, same = ranker.post("/rerank", {"query": "f g", "documents": ["a " * room]})
    assert cut == same
    status, reply = ranker.post("/rerank", {"query": "f " * (POSITIONS - 3), "documents": ["a"]})
    assert (status, reply["error"]["type"]) == (400, "exceed_context_size_error")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"documents": ["a"]}, "query: a text is needed"),
        ({"query": "", "documents": ["a"]}, "query: a text is needed"),
        ({"query": "a"}, "documents: a list of texts"),
        ({"query": "a", "documents": []}, "documents: 1 to 4096"),
        ({"query": "a", "documents": ["a", 1]}, "documents: a list of texts"),
        ({"query": "a", "documents": ["a"], "top_n": 0}, "top_n: a positive integer"),
        ({"query": "a", "documents": ["a"], "top_n": True}, "top_n: a positive integer"),
    ],
)
def test_a_bad_ranking_is_named(ranker: Asked, body: object, words: str) -> None:
    status, reply = ranker.post("/rerank", body)
    assert status == 400
    assert words in reply["error"]["message"]


def test_each_kind_refuses_what_the_other_is_for(tmp_path: Path) -> None:
    embedder, ranker = Asked(encoder(tmp_path / "e")), Asked(encoder(tmp_path / "r", labels=2))
    assert (
        "ranks no documents"
        in embedder.post("/rerank", {"query": "a", "documents": ["a"]})[1]["error"]["message"]
    )
    assert "makes no vectors" in ranker.post("/v1/embeddings", {"input": "a"})[1]["error"]["message"]
    embedder.wire.close()
    ranker.wire.close()


def test_it_tells_what_it_is(embedder: Asked) -> None:
    props = embedder.get("/props")
    assert props["default_generation_settings"]["n_ctx"] == POSITIONS
    assert props["engine"]["providers"] == ["cpu"]
    assert (props["bos_token"], props["eos_token"]) == ("[CLS]", "[SEP]")
    assert embedder.get("/slots") == [{"id": 0, "n_ctx": POSITIONS, "is_processing": False}]


def test_a_tokenizer_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    encoder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece"}}))
    with pytest.raises(FormatError, match=r"tokenizer.json is no tokenizer"):
        of_folder(tmp_path)
