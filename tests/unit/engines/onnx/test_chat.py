"""Conversations: prompts by a model's own template, and answers that are held to what was asked for."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, Protocol

import numpy as np
import pytest

from hutch.core.chat import Chunk, ToolCall
from hutch.core.errors import BadInput
from hutch.engines.onnx.chat import Chat, Turn, delta
from hutch.engines.onnx.families import FAMILIES, Family
from hutch.engines.onnx.guidance import Guidance
from hutch.engines.onnx.sampling import Sampler, SamplingParams
from hutch.engines.onnx.template import ChatTemplate
from hutch.engines.onnx.text import Output, Tokens
from tests.unit.engines.onnx import made_tokenizers as made

TOKENS = {"bos_token": "", "eos_token": ""}
USER = {"role": "user", "content": "Weather in Bern?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/place"}},
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {"place": {"enum": ["Bern", "Köln"]}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": None}}
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
HERMES = "{% if tools %}{{ tools | tojson }}\n{% endif %}" + PLAIN + "{# <tool_call> tool_calls 'tool' #}"
THINKER = (
    HERMES
    + "{# <think> #}{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'}}
    ],
}


class Make(Protocol):
    """Makes a chat over a template."""

    def __call__(self, source: str) -> Chat: ...


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A byte-level vocabulary."""
    return Tokens(made.byte_level(tmp_path_factory.mktemp("tokens")), eos=[2])


@pytest.fixture
def make(tokens: Tokens) -> Iterator[Make]:
    """Makes chats whose templates are closed at the end."""
    guidance = Guidance(tokens, tokens.size)
    with ExitStack() as stack:
        yield lambda source: Chat(
            stack.enter_context(closing(ChatTemplate(source, TOKENS))), tokens, guidance
        )


def answer(turn: Turn, tokens: Tokens, seed: int, likes: str = "") -> tuple[str, dict[str, Any]]:
    """The answer of a model that knows nothing but some characters that it likes, and how it is understood."""
    assert turn.constraint is not None
    sampler = Sampler(SamplingParams(temperature=1, top_k=0, top_p=1, seed=seed), tokens.size)
    logits = np.zeros(tokens.size, np.float32)
    for char in likes:
        logits[tokens.encode(char, parse_special=False)] = 5
    output, reader, chunks, said = Output(tokens, preserved=turn.preserved), turn.reader(), [], ""
    for _ in range(9000):
        token = sampler.choose(logits, (), turn.constraint.mask()).token
        turn.constraint.accept(token)
        if token in tokens.eos:
            break
        piece = output.feed(token)
        said += piece
        chunks.append(reader.feed(Chunk(text=piece)))
        if turn.constraint.is_complete:
            break
    said += (last := output.end())
    chunks.append(reader.end(Chunk(text=last, finish_reason="stop")))
    found: dict[str, Any] = {"thinking": "", "content": "", "calls": []}
    for chunk in chunks:
        found["thinking"] += chunk.thinking
        found["content"] += chunk.text
        for call in chunk.tool_calls:
            if call.name:
                found["calls"].append([call.name, ""])
            found["calls"][call.index][1] += call.arguments
    found["calls"] = [(name, json.loads(arguments)) for name, arguments in found["calls"]]
    return said, found


def test_messages_become_a_prompt_by_the_models_template(make: Make) -> None:
    chat = make(PLAIN)
    parts = [{"type": "text", "text": "Weather "}, {"type": "text", "text": "in Bern?"}]
    assert chat.prompt({"messages": [USER]}) == "user: Weather in Bern?\nassistant: "
    assert chat.prompt({"messages": [{"role": "user", "content": parts}]}) == chat.prompt(
        {"messages": [USER]}
    )
    turn = chat.open({"messages": [USER]})
    assert turn.constraint is None
    assert turn.prompt == chat.prompt({"messages": [USER]})


def test_an_answer_that_was_begun_goes_on(make: Make) -> None:
    chat = make(PLAIN)
    begun = {"role": "assistant", "content": "It rai"}
    prompt = "user: Weather in Bern?\nassistant: It rai"
    assert chat.prompt({"messages": [USER, begun]}) == prompt
    assert chat.open({"messages": [USER, begun]}).prompt == prompt
    whole = chat.prompt({"messages": [USER, begun], "add_generation_prompt": False})
    assert whole.startswith("user: Weather in Bern?\nassistant: It rai\n")
    assert chat.prompt({"messages": [USER, begun, USER]}).endswith("Bern?\nassistant: ")


def test_options_reach_the_template_and_cannot_replace_the_messages(make: Make) -> None:
    chat = make("{{ enable_thinking }}{{ messages | length }}")
    options = {"enable_thinking": False, "messages": [1, 2, 3], "bos_token": "x"}
    assert chat.prompt({"messages": [USER], "chat_template_kwargs": options}) == "False1"


def test_tools_reach_a_template_that_knows_them(make: Make) -> None:
    chat = make(HERMES)
    body = {"messages": [USER], "tools": [WEATHER]}
    assert chat.prompt(body).startswith('[{"type": "function", "function": {"name": "get_weather"')
    assert chat.prompt({**body, "tool_choice": "none"}) == chat.prompt({"messages": [USER]})
    assert chat.open({**body, "tool_choice": "none"}).marks.tools == frozenset()


def test_tools_reach_smollm3_by_the_name_that_it_has_for_them(make: Make) -> None:
    chat = make(
        "{{ xml_tools | length }}" + PLAIN + "{# named SmolLM, trained by Hugging Face <tool_call> #}"
    )
    assert chat.prompt({"messages": [USER], "tools": [CLOCK]}).startswith("1user")
    assert chat._family.name.startswith("Hermes")


def test_tools_reach_a_template_that_has_them_in_a_message(make: Make) -> None:
    chat = make(
        "{% for message in messages %}{{ message.role }} {{ message.content }}{{ message['tools'] }};{% endfor %}{# <|tool|> #}"
    )
    prompt = chat.prompt({"messages": [USER], "tools": [CLOCK]})
    assert prompt == 'system [{"name": "get_time", "parameters": null}];user Weather in Bern?;'


def test_a_template_that_knows_no_tools_is_told_in_words(make: Make) -> None:
    chat = make(PLAIN + "{# <start_of_turn> #}")
    result = {"role": "tool", "tool_call_id": "1", "name": "get_weather", "content": "rain"}
    prompt = chat.prompt({"messages": [USER, CALLED, result], "tools": [WEATHER]})
    assert prompt.startswith("system: You can call these functions:\n")
    assert '"description": "Tells the weather."' in prompt
    assert 'assistant: {"name": "get_weather", "parameters": {"city": "Bern"}}\n' in prompt
    assert "user: The result of get_weather:\nrain\n" in prompt


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: each.name)
def test_a_required_call_is_written_whatever_the_model_would_say(
    make: Make, tokens: Tokens, family: Family
) -> None:
    chat = make(PLAIN + "{# " + family.signs[0] + " #}")
    body = {"messages": [USER], "tools": [WEATHER, CLOCK], "tool_choice": "required"}
    for seed in range(3):
        _, found = answer(chat.open(body), tokens, seed, likes='"}] ')
        assert found["calls"]
        assert found["content"] == ""
        for name, arguments in found["calls"]:
            assert name in ("get_weather", "get_time")
            assert name == "get_time" or arguments["city"] in ("Bern", "Köln")


def test_a_call_has_no_arguments_that_the_tool_does_not_know(make: Make, tokens: Tokens) -> None:
    place = {"properties": {"city": {"const": "Bern"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": place}}
    turn = make(HERMES).open({"messages": [USER], "tools": [tool], "tool_choice": "required"})
    found = answer(turn, tokens, 3, likes=',"')[1]
    assert {arguments["city"] for _, arguments in found["calls"]} == {"Bern"}
    assert {len(arguments) for _, arguments in found["calls"]} == {1}


def test_a_named_tool_is_the_one_that_is_called(make: Make, tokens: Tokens) -> None:
    chat = make(HERMES)
    choice = {"type": "function", "function": {"name": "get_weather"}}
    body = {
        "messages": [USER],
        "tools": [WEATHER, CLOCK],
        "tool_choice": choice,
        "parallel_tool_calls": False,
    }
    for seed in range(5):
        said, found = answer(chat.open(body), tokens, seed)
        assert said.startswith("<tool_call>\n{")
        assert [name for name, _ in found["calls"]] == ["get_weather"]


def test_several_calls_are_allowed_where_the_request_allows_them(make: Make, tokens: Tokens) -> None:
    chat = make(HERMES)
    body = {"messages": [USER], "tools": [WEATHER], "tool_choice": "required"}
    numbers = {len(answer(chat.open(body), tokens, seed, "\n")[1]["calls"]) for seed in range(12)}
    assert max(numbers) > 1


def test_thoughts_come_before_what_is_required(make: Make, tokens: Tokens) -> None:
    body = {"messages": [USER], "tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    chat = make(THINKER + "<think>\n")
    turn = chat.open(body)
    assert turn.constraint is not None
    for token in tokens.encode("Hm, a {, </th and\n</think>\n\n"):
        assert turn.constraint.mask()[token]
        turn.constraint.accept(token)
    allowed = [tokens.decode([int(token)]).lstrip() for token in np.flatnonzero(turn.constraint.mask())]
    assert "<tool_call>" in allowed
    assert all("<tool_call>".startswith(text) for text in allowed)
    off = make(THINKER).open({**body, "chat_template_kwargs": {"enable_thinking": False}})
    said, _ = answer(off, tokens, 1)
    assert said.startswith("<tool_call>")


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": WEATHER["function"]["parameters"]}},  # type: ignore[index]
        {"type": "json_object", "schema": WEATHER["function"]["parameters"]},  # type: ignore[index]
    ],
)
def test_a_format_is_kept(make: Make, tokens: Tokens, form: dict[str, Any]) -> None:
    turn = make(PLAIN).open({"messages": [USER], "response_format": form})
    said, found = answer(turn, tokens, 3, likes='}"')
    assert isinstance(json.loads(said), dict)
    assert found == {"thinking": "", "content": said, "calls": []}


def test_with_a_format_and_tools_the_answer_is_one_or_the_other(make: Make, tokens: Tokens) -> None:
    body = {"messages": [USER], "tools": [CLOCK], "response_format": {"type": "json_object"}}
    turns = [make(HERMES).open(body) for _ in range(2)]
    for turn, text in zip(
        turns, ('{"a": 1}', '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'), strict=True
    ):
        assert turn.constraint is not None
        for token in tokens.encode(text, parse_special=False):
            assert turn.constraint.mask()[token]
            turn.constraint.accept(token)
        assert turn.constraint.may_end


def test_marks_that_are_special_tokens_are_part_of_the_text(make: Make, tokens: Tokens) -> None:
    chat = make(HERMES)
    assert chat.open({"messages": [USER], "tools": [CLOCK]}).preserved == frozenset()  # they are plain here
    special = Family("x", ("x",), ("<|tool|>",), FAMILIES[0].form)
    chat._family = special
    assert chat.open({"messages": [USER], "tools": [CLOCK]}).preserved == {3}
    assert chat.open({"messages": [USER]}).preserved == frozenset()


def test_a_delta_has_what_is_new_and_nothing_else() -> None:
    assert delta(Chunk()) == {}
    assert delta(Chunk(text="a", thinking="b")) == {"content": "a", "reasoning_content": "b"}
    calls = (ToolCall(0, "call_1", "f", ""), ToolCall(0, "", "", "{}"))
    assert delta(Chunk(tool_calls=calls)) == {
        "tool_calls": [
            {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
            {"index": 0, "function": {"arguments": "{}"}},
        ]
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, r"messages\[0\]"),
        ({"messages": [USER, {"role": "user", "content": 7}]}, r"messages\[1\]: content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "text alone"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool call"),
        ({"messages": [USER], "tools": [{}]}, r"tools\[0\]"),
        ({"messages": [USER], "tools": {"a": 1}}, "tools"),
        ({"messages": [USER], "tools": [{"function": {"name": "f", "parameters": []}}] * 300}, "at most 256"),
        ({"messages": [USER], "tools": [{"function": {"name": "f", "parameters": 7}}]}, "JSON Schema"),
        ({"messages": [USER], "tool_choice": "required"}, "tool_choice"),
        ({"messages": [USER], "tools": [CLOCK], "tool_choice": "maybe"}, "'maybe'"),
        ({"messages": [USER], "tools": [CLOCK], "tool_choice": {"function": {"name": "f"}}}, "no tool 'f'"),
        ({"messages": [USER], "response_format": {"type": "yaml"}}, "response_format"),
        ({"messages": [USER], "response_format": {"type": "json_schema"}}, "no schema"),
        (
            {"messages": [USER], "response_format": {"type": "json_object", "schema": {"type": "no"}}},
            "Invalid type",
        ),
        ({"messages": [USER], "chat_template_kwargs": 7}, "chat_template_kwargs"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(make: Make, body: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make(PLAIN).open(body)


def test_tools_cannot_write_into_the_grammar(make: Make, tokens: Tokens) -> None:
    name = 'x" | /.*/ | "<[1]>\n%import common.WS\nstart: "'
    hostile = {"function": {"name": name, "parameters": {"type": "object", "additionalProperties": False}}}
    body = {"messages": [USER], "tools": [hostile], "tool_choice": "required", "parallel_tool_calls": False}
    for sign in ("<tool_call>", "<｜tool▁calls▁begin｜>"):
        _, found = answer(make(PLAIN + "{# " + sign + " #}").open(body), tokens, 1, likes="}")
        assert found["calls"] == [(name, {})]
