"""`llama-index-llms-ollama` against a Hutch server."""

import asyncio
import os

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.ollama import Ollama


@pytest.fixture
def llm() -> Ollama:
    """A model with short answers."""
    return model(num_predict=24)


def model(num_predict: int, **more: bool) -> Ollama:
    """The model, at the server that is tested."""
    options = {"num_predict": num_predict, "temperature": 0}
    return Ollama(
        "llama3.2", os.environ["OLLAMA_HOST"], request_timeout=60, additional_kwargs=options, **more
    )


HELLO = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Say hello.")]


def test_complete(llm: Ollama) -> None:
    assert llm.complete("Why is the sky blue?").text


def test_stream_complete(llm: Ollama) -> None:
    pieces = list(llm.stream_complete("Why is the sky blue?"))
    assert len(pieces) > 3
    assert pieces[-1].text == "".join(piece.delta or "" for piece in pieces)


def test_chat(llm: Ollama) -> None:
    assert llm.chat(HELLO).message.content


def test_stream_chat(llm: Ollama) -> None:
    pieces = list(llm.stream_chat(HELLO))
    assert pieces[-1].message.content == "".join(piece.delta or "" for piece in pieces)


def test_async(llm: Ollama) -> None:
    assert asyncio.run(llm.achat(HELLO)).message.content


def test_json(llm: Ollama) -> None:
    assert model(num_predict=64, json_mode=True).complete("Name a colour as JSON.").text.startswith("{")
