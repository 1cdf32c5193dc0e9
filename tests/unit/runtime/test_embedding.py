"""Texts into vectors, with a worker of a few lines."""

import asyncio
import base64
import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from hutch.core.chat import EmbedRequest
from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.client import WorkerClient
from hutch.engines.protocol import Endpoint
from hutch.prompt.wordpiece import WordPiece
from hutch.runtime.embedding import BatchExceeded, embed_texts
from tests.unit.runtime.things import TINY

CLOSING = 99
Rows = list[list[float]]


class Embedder(WorkerClient):
    """A worker whose tokens are UTF-8 bytes and a closing one. It answers in the wrong order."""

    def __init__(self, vectors: Rows | None = None) -> None:
        super().__init__(Endpoint())
        self.inputs: list[Any] = []
        self._vectors = vectors

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        if path == "/tokenize":
            assert body["add_special"] is True
            return {"tokens": [*str(body["content"]).encode(), CLOSING]}
        assert path == "/v1/embeddings"
        self.inputs = list(body["input"])
        vectors = self._vectors or [[float(index), 1.0] for index in range(len(self.inputs))]
        rows = [{"index": index, "embedding": _packed(vector)} for index, vector in enumerate(vectors)]
        return {"data": rows[::-1], "usage": {"prompt_tokens": 7}}


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class NoEnds(Embedder):
    """One whose tokenizer adds nothing to a text."""

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        if path == "/tokenize":
            return {"tokens": [*str(body["content"]).encode()]}
        return await super().call(path, body)


def embed(
    worker: Embedder, *texts: str | tuple[int, ...], limit: int = 20, **fields: Any
) -> tuple[tuple[tuple[float, ...], ...], int]:
    return asyncio.run(embed_texts(worker, EmbedRequest(TINY, texts, **fields), limit))


def test_vectors_come_in_the_order_of_the_texts() -> None:
    vectors, tokens = embed(Embedder(), "a", "b", "c", normalize=False)
    assert vectors == ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0))
    assert tokens == 7


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("short", "short"),
        ("x" * 9, "x" * 9),
        ("x" * 10, [*b"x" * 10, CLOSING]),
        ("x" * 19, [*b"x" * 19, CLOSING]),
        ("x" * 20, [*b"x" * 19, CLOSING]),
        ("x" * 500, [*b"x" * 19, CLOSING]),
        ("🦜" * 9, [*("🦜" * 9).encode()[:19], CLOSING]),
        ((1, 2, 3), (1, 2, 3)),
        (tuple(range(30)), [*range(19), 29]),
    ],
)
def test_a_text_that_is_too_long_is_cut_and_keeps_its_closing_token(
    text: str | tuple[int, ...], sent: object
) -> None:
    worker = Embedder()
    embed(worker, text)
    assert worker.inputs == [sent]


def test_a_text_that_the_context_holds_and_the_batch_does_not_is_told_by_its_length() -> None:
    worker, request = Embedder(), EmbedRequest(TINY, ("a", "x" * 15, "x" * 50))
    with pytest.raises(BatchExceeded) as caught:
        asyncio.run(embed_texts(worker, request, 20, num_ubatch=10))
    assert (caught.value.num_tokens, worker.inputs) == (20, [])
    asyncio.run(embed_texts(worker, request, 20, num_ubatch=20))
    assert [len(each) for each in worker.inputs] == [1, 16, 20]


def test_only_long_texts_are_cut() -> None:
    worker = Embedder()
    embed(worker, "a", "x" * 500, "b")
    assert [type(each) for each in worker.inputs] == [str, list, str]


def test_what_may_not_be_cut_is_refused_with_its_index() -> None:
    with pytest.raises(
        ContextExceeded, match=r"^input\.1: the input length exceeds the context length$"
    ) as caught:
        embed(Embedder(), "a", "x" * 30, truncate=False)
    assert caught.value.hint == (
        "Of a text, 20 tokens are embedded: as many as the model takes, or num_ctx if that is less."
    )
    assert (caught.value.prompt_tokens, caught.value.num_ctx) == (31, 20)
    embed(Embedder(), "x" * 19, truncate=False)


def test_a_context_that_what_closes_a_text_fills_has_no_room_for_a_text() -> None:
    worker = Embedder()
    with pytest.raises(
        ContextExceeded, match=r"^input\.1: input after truncation exceeds maximum context length$"
    ):
        embed(worker, "", "x" * 30, limit=1)
    embed(worker, "x" * 30, limit=2)
    assert worker.inputs == [[ord("x"), CLOSING]]


@pytest.mark.parametrize(
    ("texts", "told"), [(("a", "b", "", "d"), "input.2: it is empty"), (("",), "input: it is empty")]
)
def test_a_text_of_no_tokens_is_refused_with_its_index(texts: tuple[str, ...], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        embed(NoEnds(), *texts)
    assert caught.value.message == told


def test_an_empty_text_is_what_the_tokenizer_adds_where_it_adds_something() -> None:
    worker = Embedder()
    embed(worker, "a", "")
    assert worker.inputs == ["a", [CLOSING]]


def test_words_are_taken_apart_here_where_the_vocabulary_is_known() -> None:
    words = WordPiece(["[UNK]", "[CLS]", "[SEP]", "\u2581blue", "s"], [3, 3, 3, 1, 1], (1, 2, 0))
    worker = Embedder()
    request = EmbedRequest(TINY, ("Blues", "blue " * 50, "blue " * 20_000))
    asyncio.run(embed_texts(worker, request, 5, words))
    assert worker.inputs == [[1, 3, 4, 2], [1, 3, 3, 3, 2], [1, 3, 3, 3, 2]]


def test_vectors_are_cut_before_they_get_unit_length() -> None:
    vectors, _ = embed(Embedder([[3.0, 4.0, 12.0]]), "a", dimensions=2)
    assert vectors == ((0.6, 0.8),)
    vectors, _ = embed(Embedder([[3.0, 4.0, 12.0]]), "a", dimensions=2, normalize=False)
    assert vectors == ((3.0, 4.0),)
    vectors, _ = embed(Embedder([[3.0, 4.0]]), "a", dimensions=99)
    assert vectors == ((0.6, 0.8),)


def test_a_vector_of_nothing_stays_so() -> None:
    assert embed(Embedder([[0.0, 0.0]]), "a")[0] == ((0.0, 0.0),)


@pytest.mark.parametrize("dimensions", [0, -1])
def test_dimensions_are_at_least_one(dimensions: int) -> None:
    with pytest.raises(BadInput, match="dimensions must be at least 1"):
        embed(Embedder([[3.0, 4.0]]), "a", dimensions=dimensions)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_vector_with_what_is_no_number_is_the_engines_failure(value: float) -> None:
    with pytest.raises(EngineFailed, match=r"^input\.1: embedding contains NaN or Inf"):
        embed(Embedder([[1.0], [value]]), "a", "b")
