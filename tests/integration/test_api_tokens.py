"""`/tokenize`, `/detokenize` and `/apply-template` with real tokenizers, in llama.cpp's words and in vLLM's."""

import json
import urllib.error
from typing import Any

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server

TEXT = "What is a hutch? 🐇\n"
MESSAGES = [{"role": "user", "content": "What is two plus two?"}]

pytestmark = EVERY_ENGINE


def ask(server: Server, path: str, **body: Any) -> Any:
    status, reply = server.post(path, {"model": MODEL, **body})
    assert status == 200, reply
    return reply


def refusal(server: Server, path: str, **body: Any) -> tuple[str, str | None]:
    status, reply = server.post(path, {"model": MODEL, **body})
    assert status == 400, reply
    return reply["error"]["message"], reply["error"]["param"]


def test_a_text_comes_back_from_its_tokens(server: Server) -> None:
    told = ask(server, "/tokenize", content=TEXT)
    assert list(told) == ["tokens"]
    assert all(isinstance(token, int) for token in told["tokens"])
    back = ask(server, "/detokenize", tokens=told["tokens"])
    assert back == {"content": TEXT, "prompt": TEXT}


def test_pieces_that_are_no_characters_are_bytes(server: Server) -> None:
    tokens = ask(server, "/tokenize", content=TEXT, with_pieces=True)["tokens"]
    pieces = [each["piece"] for each in tokens]
    whole = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces)
    assert whole.decode() == TEXT
    assert any(isinstance(piece, list) for piece in pieces)
    assert [each["id"] for each in tokens] == ask(server, "/tokenize", content=TEXT)["tokens"]


def test_vllms_words_count_and_tell_the_context(server: Server) -> None:
    plain = ask(server, "/tokenize", prompt=TEXT, add_special_tokens=False)
    assert plain == {
        "count": len(plain["tokens"]),
        "max_model_len": 4096,
        "tokens": ask(server, "/tokenize", content=TEXT)["tokens"],
        "token_strs": None,
    }
    shown = ask(server, "/tokenize", prompt=TEXT, return_token_strs=True)
    assert len(shown["token_strs"]) == shown["count"]
    assert "hutch" in "".join(shown["token_strs"])


def test_names_of_special_tokens_are_tokens_or_text(server: Server) -> None:
    name = server.get(f"/tokenizer_info?model={MODEL}")["eos_token"]
    (token,) = ask(server, "/tokenize", content=name)["tokens"]
    spelt = ask(server, "/tokenize", content=name, parse_special=False)["tokens"]
    assert token not in spelt
    assert ask(server, "/detokenize", tokens=[token])["content"] == name


def test_a_conversation_has_the_tokens_that_its_answer_says_it_had(server: Server) -> None:
    count = ask(server, "/tokenize", messages=MESSAGES)["count"]
    reply = ask(server, "/v1/chat/completions", messages=MESSAGES, max_tokens=1)
    assert count == reply["usage"]["prompt_tokens"]
    prompt = ask(server, "/apply-template", messages=MESSAGES)["prompt"]
    reply = ask(server, "/v1/completions", prompt=prompt, max_tokens=1)
    assert count == reply["usage"]["prompt_tokens"]


def test_a_conversation_may_end_with_its_last_message(server: Server) -> None:
    opened = ask(server, "/apply-template", messages=MESSAGES)["prompt"]
    closed = ask(server, "/apply-template", messages=MESSAGES, add_generation_prompt=False)["prompt"]
    assert opened.startswith(closed)
    assert opened != closed
    fewer = ask(server, "/tokenize", messages=MESSAGES, add_generation_prompt=False)
    assert fewer["count"] < ask(server, "/tokenize", messages=MESSAGES)["count"]


def test_nothing_has_no_tokens(server: Server) -> None:
    assert ask(server, "/tokenize", content="") == {"tokens": []}
    assert ask(server, "/detokenize", tokens=[])["content"] == ""


@pytest.mark.parametrize("token", [-1, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 70])
def test_numbers_that_are_no_tokens_are_refused(server: Server, token: int) -> None:
    message, _ = refusal(server, "/detokenize", tokens=[1, token])
    assert message.startswith("tokens")
    assert ask(server, "/detokenize", tokens=[1])["content"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"content": "a", "prompt": "a"}, "content"),
        ("/tokenize", {"content": ["a"]}, "content"),
        ("/tokenize", {"prompt": 7}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "oracle", "content": "a"}]}, "messages.0.role"),
        ("/tokenize", {"messages": MESSAGES, "add_special_tokens": True}, "add_special_tokens"),
        ("/tokenize", {"messages": MESSAGES, "continue_final_message": True}, "continue_final_message"),
        ("/tokenize", {"messages": MESSAGES, "chat_template": "{{ x }}"}, "chat_template"),
        ("/tokenize", {"messages": MESSAGES, "chat_template_kwargs": {"x": 1}}, "chat_template_kwargs"),
        ("/apply-template", {}, "messages"),
        ("/apply-template", {"messages": "hi"}, "messages"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens.0"),
        ("/detokenize", {"tokens": [1.5]}, "tokens.0"),
    ],
)
def test_what_is_wrong_is_named(server: Server, path: str, body: dict[str, Any], field: str) -> None:
    assert refusal(server, path, **body)[1] == field


def test_no_name_means_the_one_model_that_is_loaded(server: Server) -> None:
    ask(server, "/tokenize", content="a")
    status, reply = server.post("/tokenize", {"prompt": "test", "add_special_tokens": False})
    assert status == 200
    assert reply["tokens"] == ask(server, "/tokenize", content="test")["tokens"]
    assert server.get("/tokenizer_info")["chat_template"]


def test_a_model_that_is_not_there(server: Server) -> None:
    status, reply = server.post("/tokenize", {"model": "nosuch", "content": "a"})
    assert (status, reply["error"]["code"]) == (404, "model_not_found")
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.get("/tokenizer_info?model=no%20name")
    assert json.load(caught.value)["error"]["param"] == "model"
