"""Anthropic's client against a real server with the real model."""

from collections.abc import Iterator

import anthropic
import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import ask

pytestmark = EVERY_ENGINE
HI: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def claude(server: Server) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client."""
    with anthropic.Anthropic(base_url=server.url, api_key="not needed", max_retries=0) as made:
        yield made


def test_it_answers(claude: anthropic.Anthropic) -> None:
    reply = claude.messages.create(model=MODEL, messages=HI, max_tokens=4)
    assert (reply.type, reply.role, reply.stop_reason) == ("message", "assistant", "max_tokens")
    assert reply.content[0].type == "text"
    assert reply.content[0].text
    assert reply.usage.output_tokens == 4


def test_it_streams_what_the_client_puts_together(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(model=MODEL, messages=HI, max_tokens=5, system="Be brief.") as stream:
        text = "".join(stream.text_stream)
        whole = stream.get_final_message()
    assert whole.content[0].type == "text"
    assert whole.content[0].text == text
    assert whole.usage.output_tokens == 5
    assert whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0) > 5


def test_the_stop_text_that_ended_the_answer_is_named(claude: anthropic.Anthropic) -> None:
    reply = claude.messages.create(model=MODEL, messages=HI, max_tokens=50, stop_sequences=["e", "a", "o"])
    assert reply.stop_reason == "stop_sequence"
    assert reply.stop_sequence in ("e", "a", "o")


def test_tokens_are_counted_as_the_model_will_see_them(server: Server, claude: anthropic.Anthropic) -> None:
    messages: list[anthropic.types.MessageParam] = [
        {"role": "user", "content": "How many words are these, and why?"}
    ]
    counted = claude.messages.count_tokens(model=MODEL, messages=messages, system="Be exact.")
    reply = claude.messages.create(model=MODEL, messages=messages, system="Be exact.", max_tokens=1)
    assert counted.input_tokens == reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0)


def test_an_answer_in_a_form_is_of_that_form(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 2]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    body = {"model": MODEL, "max_tokens": 30, "messages": HI}
    form = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    reply = ask(server, "POST", "/v1/messages", {**body, **form})
    assert reply.status == 200
    assert "".join(reply.json["content"][0]["text"].split()) in ('{"n":1}', '{"n":2}')


def test_errors_are_the_clients_own_classes(claude: anthropic.Anthropic) -> None:
    tool: anthropic.types.ToolParam = {"name": "a", "input_schema": {"type": "object"}}
    thinking: anthropic.types.ThinkingConfigEnabledParam = {"type": "enabled", "budget_tokens": 1024}
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        claude.messages.create(model="nobody", messages=HI, max_tokens=4)
    with pytest.raises(anthropic.BadRequestError, match="tools"):
        claude.messages.create(model=MODEL, messages=HI, max_tokens=4, tools=[tool])
    with pytest.raises(anthropic.BadRequestError, match="thinking"):
        claude.messages.create(model=MODEL, messages=HI, max_tokens=4, thinking=thinking)
