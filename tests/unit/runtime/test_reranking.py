"""Documents in their order, with a worker of a few lines."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hutch.core.chat import Ranked, RerankRequest
from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.client import WorkerClient
from hutch.engines.protocol import Endpoint
from hutch.runtime.reranking import check_ranks, rank_documents
from tests.unit.runtime.things import TINY


class Ranker(WorkerClient):
    """A worker whose tokens are letters. It scores by the place in the alphabet, and answers in the request's order."""

    def __init__(self, **reply: Any) -> None:
        super().__init__(Endpoint())
        self.documents: list[str] = []
        self.paths: list[str] = []
        self._reply = reply

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        self.paths.append(path)
        if path == "/tokenize":
            return {"tokens": list(map(ord, body["content"]))}
        if path == "/detokenize":
            return {"content": "".join(map(chr, body["tokens"]))}
        self.documents = list(body["documents"])
        results = [
            {"index": index, "relevance_score": -ord(text[0])} for index, text in enumerate(self.documents)
        ]
        return {"results": results, "usage": {"prompt_tokens": 9}} | self._reply


def ranked(
    worker: Ranker, *documents: str, query: str = "qq", limit: int | None = 12, **fields: Any
) -> tuple[tuple[Ranked, ...], int]:
    return asyncio.run(rank_documents(worker, RerankRequest(TINY, query, documents, **fields), limit))


def test_the_best_come_first_and_only_as_many_as_wanted() -> None:
    results, tokens = ranked(Ranker(), "c", "a", "b", "a")
    assert [(each.index, each.score) for each in results] == [(1, -97), (3, -97), (2, -98), (0, -99)]
    assert tokens == 9
    assert [each.index for each in ranked(Ranker(), "c", "a", "b", top_n=2)[0]] == [1, 2]


def test_of_a_long_document_the_end_is_left_out() -> None:
    worker = Ranker()
    ranked(worker, "short", "b" * 30, "éééé")
    assert worker.documents == ["short", "b" * 6, "éééé"]
    assert (
        worker.paths.count("/tokenize") == 4
    )  # of the query, of two that may be too long, and of the one that was


def test_what_comes_back_longer_than_it_was_is_cut_again() -> None:
    class Unknowing(Ranker):
        """Knows the letters of `[UNK]` alone."""

        async def call(self, path: str, body: Mapping[str, Any]) -> Any:
            if path == "/tokenize":
                assert body["parse_special"] is False
                return {"tokens": [ord(each) if each in "[UNK]q" else 0 for each in body["content"]]}
            if path == "/detokenize":
                return {"content": "".join(chr(token) if token else "[UNK]" for token in body["tokens"])}
            assert all(len(document) <= 6 for document in body["documents"])  # else the engine fails
            return await super().call(path, body)

    worker = Unknowing()
    ranked(worker, "x" * 1000)
    assert worker.documents[0].startswith("[UNK")


def test_a_worker_that_cuts_gets_the_documents_as_they_are() -> None:
    worker = Ranker()
    ranked(worker, "b" * 30, limit=None)
    assert (worker.documents, worker.paths) == (["b" * 30], ["/rerank"])


def test_a_query_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ContextExceeded, match="the query is longer"):
        ranked(Ranker(), "a", query="q" * 8)


@pytest.mark.parametrize(
    "results",
    [
        [],
        None,
        [{"index": 0, "relevance_score": None}],
        [{"index": 0, "relevance_score": float("nan")}],
        [{"index": 7, "relevance_score": 1.0}],
        [{"index": 0, "relevance_score": 1.0}, {"index": 0, "relevance_score": 1.0}],
    ],
)
def test_what_is_no_ranking_is_told(results: object) -> None:
    with pytest.raises(EngineFailed):
        ranked(Ranker(results=results), "a")


def test_a_model_that_scores_nothing_is_named() -> None:
    check_ranks("good", is_reranker=True)
    with pytest.raises(BadInput, match='"tiny" does not support rerank'):
        check_ranks("tiny", is_reranker=False)
