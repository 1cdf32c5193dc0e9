"""What the backend is asked for when it is asked in Anthropic's words."""

import base64
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hutch.api.anthropic_wire import ANTHROPIC
from hutch.core.chat import Chunk, Message, Sampling, ToolCall
from hutch.core.errors import BadInput
from tests.contract.house import Front
from tests.contract.test_requests import HI
from tests.picture_files import png

PATH = "/v1/messages"
TOOLS = [
    {"name": name, "description": f"The {name}.", "input_schema": {"type": "object"}} for name in ("a", "b")
]


def test_the_system_text_comes_first_in_either_form(house: Front) -> None:
    blocks = [
        {"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "brief."},
    ]
    for system, text in (("Be brief.", "Be brief."), (blocks, "Be\nbrief.")):
        request = house.asks(PATH, max_tokens=5, system=system, messages=HI)
        assert request.messages == (Message("system", text), Message("user", "Hi"))


def test_sampling_is_over_the_models_own_and_that_over_the_dialects(house: Front) -> None:
    body = {"temperature": 0.5, "top_p": 0.4, "top_k": 3, "stop_sequences": ["x"]}
    request = house.asks(PATH, max_tokens=5, messages=HI, **body)
    assert request.sampling == Sampling(temperature=0.5, top_p=0.4, top_k=3, stop=("x",), max_tokens=5)
    assert request.dialect_defaults == Sampling(temperature=1.0, top_p=1.0)
    assert not request.truncate


def test_results_of_tools_are_messages_of_their_own_in_their_order(house: Front) -> None:
    call = {"type": "tool_use", "id": "t1", "name": "a", "input": {"ü": 1}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]}
    failed = {"type": "tool_result", "tool_use_id": "t2", "content": "no such city", "is_error": True}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    request = house.asks(
        PATH,
        max_tokens=5,
        messages=[
            *HI,
            {"role": "assistant", "content": [thought, {"type": "text", "text": "Look:"}, call]},
            {"role": "user", "content": [result, failed, {"type": "text", "text": "And now?"}]},
        ],
    )
    assert request.messages == (
        Message("user", "Hi"),
        Message("assistant", "Look:", "Hm.", (ToolCall(0, "t1", "a", '{"ü": 1}'),)),
        Message("tool", "sunny", tool_call_id="t1"),
        Message("tool", "Error: no such city", tool_call_id="t2"),
        Message("user", "And now?"),
    )


def test_an_image_and_a_document_of_text_are_taken(house: Front) -> None:
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()},
    }
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A fact."}}
    said = {"role": "user", "content": [image, text, {"type": "text", "text": "What?"}]}
    messages = house.asks(PATH, max_tokens=5, messages=[said]).messages
    assert messages is not None
    assert messages[0].content == "A fact.\nWhat?"
    assert [each.media_type for each in messages[0].images] == ["image/png"]


@pytest.mark.parametrize(
    ("choice", "names", "wanted", "parallel"),
    [
        (None, ["a", "b"], None, True),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["a", "b"], "auto", False),
        ({"type": "any"}, ["a", "b"], "required", True),
        ({"type": "tool", "name": "b"}, ["b"], "required", True),
        ({"type": "none"}, [], None, True),
    ],
)
def test_tools_are_functions(
    house: Front, choice: Any, names: list[str], wanted: str | None, parallel: bool
) -> None:
    request = house.asks(PATH, max_tokens=5, messages=HI, tools=TOOLS, tool_choice=choice)
    assert [tool["function"]["name"] for tool in request.tools] == names
    assert (request.tool_choice, request.parallel_tool_calls) == (wanted, parallel)
    if names:
        assert request.tools[-1]["function"] == {
            "name": "b",
            "description": "The b.",
            "parameters": {"type": "object"},
        }


@pytest.mark.parametrize(
    ("thinking", "effort", "think"),
    [
        (None, None, False),
        ({"type": "disabled"}, "high", False),
        ({"type": "adaptive"}, None, None),
        ({"type": "adaptive"}, "low", "low"),
        ({"type": "enabled", "budget_tokens": 2048}, None, True),
        ({"type": "enabled"}, "low", "low"),
        ({"type": "enabled"}, "xhigh", "max"),
        ({"type": "enabled"}, "max", "max"),
    ],
)
def test_whether_and_how_much_to_think(house: Front, thinking: Any, effort: str | None, think: Any) -> None:
    request = house.asks(PATH, max_tokens=5, messages=HI, thinking=thinking, output_config={"effort": effort})
    assert request.think == think
    assert request.needs_thinking == (not thinking or thinking["type"] != "adaptive")


@pytest.mark.parametrize("thinking", [None, {"type": "adaptive"}, {"type": "enabled"}])
def test_a_word_that_is_no_effort_is_refused(house: Front, thinking: Any) -> None:
    effort = {"effort": "banana"}
    assert "banana" in house.refuses(PATH, max_tokens=5, messages=HI, thinking=thinking, output_config=effort)


@pytest.mark.parametrize(
    ("thinking", "effort", "ignored"),
    [
        (None, "low", "output_config.effort"),
        ({"type": "adaptive"}, "low", None),
        ({"type": "enabled", "budget_tokens": 2048}, "low", "thinking.budget_tokens"),
        ({"type": "disabled"}, None, None),
    ],
)
def test_what_has_no_effect_on_thinking_is_named(
    house: Front, thinking: Any, effort: str | None, ignored: str | None
) -> None:
    body = {"model": "tiny", "max_tokens": 5, "messages": HI, "thinking": thinking}
    reply = house.client.post(PATH, json={**body, "output_config": {"effort": effort}})
    assert reply.headers.get("X-Hutch-Ignored") == ignored


def test_the_form_of_the_answer_is_a_schema(house: Front) -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    request = house.asks(PATH, max_tokens=5, messages=HI, output_config={"format": form})
    assert request.response_format == {"type": "object"}


@pytest.mark.parametrize(
    ("reason", "stopped_by", "told"),
    [
        ("stop", "", ("end_turn", None)),
        ("stop", "END", ("stop_sequence", "END")),
        ("stop", "<|im_end|>", ("end_turn", None)),
        ("tool_calls", "END", ("tool_use", None)),
    ],
)
def test_a_stop_text_is_named_that_the_client_gave(
    house: Front, monkeypatch: pytest.MonkeyPatch, reason: Any, stopped_by: str, told: tuple[str, str | None]
) -> None:
    async def generate(*_: object) -> AsyncGenerator[Chunk, None]:
        yield Chunk(text="a", finish_reason=reason, stopped_by=stopped_by)

    monkeypatch.setattr(house.backend, "generate", generate)
    reply = house.post(PATH, {"max_tokens": 5, "messages": HI, "stop_sequences": ["END"]})
    assert (reply["stop_reason"], reply["stop_sequence"]) == told


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"max_tokens": 1 << 25}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"top_p": -1}, "top_p"),
        ({"top_k": -2}, "top_k"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "x"}]}]},
            "messages.0.content.0",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0.content.0.source"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": HI * 10_001}, "messages"),
        ({"stop_sequences": ["x"] * 65}, "stop"),
        ({"tools": [{"name": "", "input_schema": {}}]}, "tools.0"),
        ({"tools": TOOLS * 200}, "tools"),
        ({"system": [{"type": "image"}]}, "system.0"),
    ],
)
def test_what_is_wrong_is_refused_by_name(house: Front, body: dict[str, Any], word: str) -> None:
    assert word in house.refuses(PATH, **{"max_tokens": 5, "messages": HI, **body})


def test_what_a_model_cannot_do_is_told_by_the_name_that_it_has_here() -> None:
    cannot = BadInput("it cannot think", hint="Leave `think` out.", param="think")
    assert ANTHROPIC.error(cannot)["error"]["message"] == "thinking: it cannot think. Leave `thinking` out."
