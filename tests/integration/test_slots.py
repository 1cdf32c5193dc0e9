"""What slots hold: the beginnings of conversations that come again, and no more than there is room for."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import ask, running
from tests.keys import made

ON_ONNX = pytest.mark.parametrize("models_dir", ["onnx"], indirect=True)
LONG = "Answer as the keeper of a lighthouse would, who has seen many storms. " * 20


@pytest.fixture
def fresh(serve: Callable[..., Server], models_dir: Path) -> Iterator[Server]:
    """A server whose slots hold nothing yet."""
    server = serve(models_dir, NUM_PARALLEL="2")
    yield server
    server.stop()


def usage(server: Server, *texts: str, headers: Mapping[str, str] | None = None) -> tuple[int, int]:
    """How many tokens the prompt of a conversation has, and how many of them a slot had already."""
    roles = ("system", *("user", "assistant") * len(texts))
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    body = {"model": MODEL, "messages": messages, "max_tokens": 2, "temperature": 0}
    reply = ask(server, "POST", "/v1/chat/completions", body, headers)
    assert reply.status == 200, reply.body
    told = reply.json["usage"]
    return told["prompt_tokens"], told["prompt_tokens_details"]["cached_tokens"]


@EVERY_ENGINE
def test_two_conversations_in_turns_each_find_their_beginning_again(fresh: Server) -> None:
    whales, clocks = f"Whales. {LONG}", f"Clocks. {LONG}"
    for text in (whales, clocks):
        total, cached = usage(fresh, text, "Hello")
        assert total > 250
        assert cached < 20
    for text in (whales, clocks, whales):
        total, cached = usage(fresh, text, "Hello", "Ahoy!", "And now?")
        assert cached > 250
        assert total > cached
    rows = running(fresh)[MODEL]
    assert (rows["slots"], rows["busy"], rows["queued"]) == (2, 0, 0)


@EVERY_ENGINE
def test_what_one_user_left_in_a_slot_serves_no_other(fresh: Server) -> None:
    anna, bert, carl = (made(fresh, name) for name in ("anna", "bert", "carl"))
    for headers in (anna, bert, carl, anna):  # from the third on in a slot that another has left
        assert usage(fresh, LONG, "Hello", headers=headers)[1] == 0
    for headers in (carl, anna):
        assert usage(fresh, LONG, "Hello", headers=headers)[1] > 250


@EVERY_ENGINE
def test_both_engines_tell_the_same_of_a_loaded_model(fresh: Server) -> None:
    usage(fresh, "Be brief.", "Hello")
    row = running(fresh)[MODEL]
    assert set(row) - {"hardware", "kv_cache_type"} == {
        *("name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"),
        *("engine", "pid", "socket", "state", "slots", "busy", "queued"),
    }
    assert row["context_length"] == 4096
    assert row["size"] > 90 << 20


@ON_ONNX
def test_answers_that_have_no_room_together_come_one_after_another(
    serve: Callable[..., Server], models_dir: Path
) -> None:
    server = serve(models_dir, NUM_PARALLEL="3", CONTEXT_LENGTH="512", MAX_KV_CACHE="24MiB")
    body: dict[str, Any] = {"model": MODEL, "max_tokens": 8, "temperature": 0}
    body["logit_bias"] = {"2": -100, "0": -100}  # it does not end by itself

    def tokens(number: int) -> int:
        reply = ask(server, "POST", "/v1/completions", body | {"prompt": f"{number}: {LONG}"})
        assert reply.status == 200, reply.body
        return int(reply.json["usage"]["completion_tokens"])

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(tokens, range(3))) == [8] * 3
    server.stop()


def test_any_number_of_slots_is_loaded(serve: Callable[..., Server], models_dir: Path) -> None:
    server = serve(models_dir, NUM_PARALLEL="3")
    status, reply = server.post("/api/generate", {"model": MODEL, "prompt": "Hi", "stream": False})
    assert status == 200, reply
    (row,) = server.get("/api/ps")["models"]
    assert row["slots"] == 3
