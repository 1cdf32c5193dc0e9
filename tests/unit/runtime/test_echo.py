"""Prompts told back by a worker that knows a few tokens."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hutch.core.chat import Echo
from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.client import WorkerClient
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.runtime import echo as echo_module
from hutch.runtime.echo import told_back

_PIECES = {1: b"<s>", 2: b"one", 3: b" two", 4: b" \xf0\x9f", 5: b"\x90\x87", 6: b"a"}
_UNFINISHED = 4
_PLAN = LaunchPlan("w", Endpoint(), num_ctx=8, num_slots=1, num_batch=8, num_ubatch=8, num_thread=1)


class Worker(WorkerClient):
    """Finds each token half as likely as the one before it. Says nothing of one that ends within a character."""

    def __init__(self, tokens: tuple[int, ...] = (), vocabulary: int = 7) -> None:
        super().__init__(Endpoint())
        self.asked: list[Mapping[str, Any]] = []
        self._tokens = tokens
        self._vocabulary = vocabulary

    async def call(self, path: str, body: Mapping[str, Any]) -> Any:
        """As llama-server."""
        if path == "/tokenize" and body.get("with_pieces"):
            return {"tokens": [{"id": token, "piece": _shown(_PIECES[token])} for token in self._tokens]}
        if path == "/tokenize":
            return {"tokens": [1, 6]}
        if path == "/detokenize":
            if not set(body["tokens"]) <= set(_PIECES):
                raise EngineFailed("vector::_M_range_check")
            return {"content": b"".join(_PIECES[token] for token in body["tokens"]).decode(errors="replace")}
        assert path == "/completion"
        self.asked.append(body)
        [[token, bias]] = body["logit_bias"]
        assert (bias, body["n_predict"], body["stream"]) == (1e4, 1, False)
        if token == _UNFINISHED:
            return {"content": ""}
        likeliest = [_told(each) for each in range(1, self._vocabulary)][: body["n_probs"]]
        return {"completion_probabilities": [{**_told(token), "top_logprobs": likeliest}]}


def _told(token: int) -> dict[str, Any]:
    piece = b"" if token == 1 else _PIECES[token]  # a special token has no text in an answer
    return {"id": token, "token": piece.decode(errors="replace"), "bytes": list(piece), "logprob": -token / 2}


def _shown(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _echo(worker: Worker, prompt: Any, top: int | None = 1, *, reuse: bool = False) -> Echo:
    slot = {"id_slot": 3, "cache_prompt": reuse}
    return asyncio.run(told_back(worker, prompt, top, slot, _PLAN))


def test_a_text_comes_back_with_the_likelihood_of_each_token_but_the_first() -> None:
    worker = Worker((1, 2, 3))
    echo = _echo(worker, "one two")
    assert (echo.text, echo.pieces) == ("one two", (b"<s>", b"one", b" two"))
    assert [told.logprob for told in echo.logprobs] == [-1, -1.5]
    assert [[other.logprob for other in told.top] for told in echo.logprobs] == [[-0.5], [-0.5]]


def test_each_call_reads_one_token_more_and_reuses_what_the_one_before_it_read() -> None:
    worker = Worker((1, 2, 3))
    _echo(worker, "one two")
    assert [body["prompt"] for body in worker.asked] == [[1], [1, 2]]
    assert [body["cache_prompt"] for body in worker.asked] == [False, True]
    assert {body["id_slot"] for body in worker.asked} == {3}


def test_tokens_come_back_with_their_text_and_special_ones_with_their_name() -> None:
    echo = _echo(Worker(), (2, 1, 3), 0)
    assert (echo.text, echo.pieces) == ("one<s> two", (b"one", b"<s>", b" two"))
    assert [told.top for told in echo.logprobs] == [(), ()]


def test_without_log_probabilities_nothing_is_computed() -> None:
    worker = Worker()
    assert _echo(worker, "one", None) == Echo("one")
    assert _echo(worker, (2, 3), None) == Echo("one two")
    assert not worker.asked


def test_a_token_that_ends_within_a_character_is_found_among_the_alternatives_of_another() -> None:
    worker = Worker((2, 4, 5))
    echo = _echo(worker, "one 🐇", 2)
    assert echo.pieces == (b"one", b" \xf0\x9f", b"\x90\x87")
    assert [told.logprob for told in echo.logprobs] == [-2, -2.5]
    assert [len(told.top) for told in echo.logprobs] == [2, 2]


def test_an_engine_that_never_names_the_token_is_an_error_and_no_number() -> None:
    with pytest.raises(EngineFailed, match="token 4"):
        _echo(Worker((2, 4), vocabulary=3), "one 🐇")


def test_looks_at_the_whole_vocabulary_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo_module, "_FIRST_LOOK", 1)
    monkeypatch.setattr(echo_module, "_MAX_WHOLE", 2)
    assert len(_echo(Worker((2, 4, 4)), "one").logprobs) == 2
    worker = Worker((2, 4, 4, 4, 4, 4))
    with pytest.raises(BadInput, match="more than 2 of its tokens") as refusal:
        _echo(worker, "one")
    assert refusal.value.param == "prompt"
    assert max(len(body["prompt"]) for body in worker.asked) == 3  # it ended there


def test_a_prompt_longer_than_the_context_is_refused_before_anything_is_computed() -> None:
    worker = Worker((2,) * 8)
    with pytest.raises(ContextExceeded) as refusal:
        _echo(worker, "one" * 8)
    assert (refusal.value.prompt_tokens, refusal.value.num_ctx) == (8, 8)
    assert not worker.asked


@pytest.mark.parametrize("top", [None, 1])
def test_what_is_no_token_of_the_model_is_refused(top: int | None) -> None:
    with pytest.raises(BadInput) as refusal:
        _echo(Worker(), (2, 99), top)
    assert refusal.value.param == "prompt"


def test_a_prompt_of_one_token_has_nothing_to_judge() -> None:
    assert _echo(Worker(), (2,)) == Echo("one", (b"one",), ())
