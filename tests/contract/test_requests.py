"""What the backend is asked for: the same internal request, in whichever dialect it was said."""

from typing import Any

import pytest

from hutch.core.chat import EmbedRequest, LoadOptions, Message, Sampling, ToolCall
from tests.contract.house import Front

HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
OTHER_TOOL = {"type": "function", "function": {"name": "clock"}}


def test_a_prompt_is_a_message_of_the_user(house: Front) -> None:
    request = house.asks("/api/generate", prompt="Hi", system="Be brief.", template="{{ .Prompt }}")
    assert request.messages == (Message("system", "Be brief."), Message("user", "Hi"))
    assert request.prompt is None
    assert request.template == "{{ .Prompt }}"
    assert request.want_context
    assert request.truncate


def test_a_raw_prompt_goes_as_it_stands(house: Front) -> None:
    request = house.asks("/api/generate", prompt="<x>", raw=True)
    assert request.prompt == "<x>"
    assert request.messages is None
    assert not request.want_context


def test_a_suffix_asks_for_the_middle(house: Front) -> None:
    request = house.asks("/api/generate", prompt="a", suffix="b", system="S", template="{{ .Suffix }}")
    assert (request.prompt, request.suffix, request.messages) == ("a", "b", None)
    assert (request.template, request.want_context) == ("{{ .Suffix }}", True)
    assert house.asks("/api/generate", suffix="b").prompt == ""
    assert "suffix" in house.refuses("/api/generate", prompt="a", suffix="b", raw=True)
    request = house.asks("/v1/completions", prompt="a", suffix="b")
    assert (request.prompt, request.suffix) == ("a", "b")
    assert house.asks("/v1/completions", prompt="a", suffix=None).suffix == ""


@pytest.mark.parametrize("think", [None, True, False, "low", "medium", "high", "max"])
def test_whether_and_how_much_to_think_is_passed_on(house: Front, think: Any) -> None:
    assert house.asks("/api/chat", messages=HI, think=think).think == think


def test_a_level_of_thinking_that_there_is_not_is_refused_in_ollamas_words(house: Front) -> None:
    words = 'invalid think value: \\"lots\\" (must be \\"high\\", \\"medium\\", \\"low\\", \\"max\\", true, or false)'
    assert words in house.refuses("/api/chat", messages=HI, think="lots")
    assert words.replace('\\"lots\\"', "5") in house.refuses("/api/generate", prompt="Hi", think=5)


@pytest.mark.parametrize("shift", [None, True, False])
def test_to_shift_the_context_is_a_matter_of_loading(house: Front, shift: bool | None) -> None:
    assert house.asks("/api/generate", prompt="Hi", shift=shift).load == LoadOptions(shift=shift)


def test_a_rendered_prompt_is_shown_and_nothing_generated(house: Front) -> None:
    for path, body in (("/api/generate", {"prompt": "Hi"}), ("/api/chat", {"messages": HI})):
        reply = house.post(path, {**body, "_debug_render_only": True})
        assert reply["_debug_info"] == {"rendered_template": "Hi"}
        assert (reply["done"], reply["model"]) == (False, "tiny")


def test_options_are_sorted_by_when_they_take_effect(house: Front) -> None:
    options = {
        "num_predict": 5.9,
        "seed": 1 << 40,
        "stop": ["a", ""],
        "num_ctx": 64,
        "top_k": None,
        "numa": True,
    }
    request = house.asks("/api/generate", prompt="Hi", options=options)
    assert request.sampling == Sampling(max_tokens=5, seed=0, stop=("a",))
    assert request.load == LoadOptions(num_ctx=64)
    assert request.dialect_defaults == Sampling()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, None), (300, 300.0), (1.5, 1.5), ("5m", 300.0), ("1h30m", 5400.0), (0, 0.0), (-1, float("inf"))],
)
def test_a_keep_alive_is_read_in_seconds(house: Front, given: Any, seconds: float | None) -> None:
    assert house.asks("/api/generate", prompt="Hi", keep_alive=given).keep_alive_s == seconds


@pytest.mark.parametrize(
    ("body", "top"),
    [
        ({}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 3}, 3),
        ({"top_logprobs": 3}, None),
    ],
)
def test_log_probabilities_are_given_where_asked_for(
    house: Front, body: dict[str, Any], top: int | None
) -> None:
    assert house.asks("/api/chat", messages=HI, **body).top_logprobs == top


@pytest.mark.parametrize("given", [None, "", "json", {"type": "object"}])
def test_a_format_is_json_or_a_schema(house: Front, given: Any) -> None:
    assert house.asks("/api/chat", messages=HI, format=given).response_format == (given or None)


def test_a_history_of_tool_calls_is_kept(house: Front) -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Paris", "a": [1]}}}
    request = house.asks(
        "/api/chat",
        messages=[
            *HI,
            {"role": "Assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]},
            {"role": "tool", "content": "rain", "tool_name": "weather", "tool_call_id": "x"},
        ],
        tools=[TOOL],
    )
    assert request.messages is not None
    made = ToolCall(0, "call_1_0", "weather", '{"city": "Paris", "a": [1]}')
    assert request.messages[1] == Message("assistant", "", "Hm.", (made,))
    assert request.messages[2] == Message("tool", "rain", tool_call_id="x", tool_name="weather")
    assert request.tools == (TOOL,)


def test_openais_defaults_stand_below_the_models_own(house: Front) -> None:
    request = house.asks("/v1/chat/completions", messages=HI)
    assert request.dialect_defaults == Sampling(temperature=1.0, top_p=1.0)
    assert request.sampling == Sampling()
    assert not request.truncate
    assert not request.want_context


def test_openais_parameters_are_all_heard(house: Front) -> None:
    request = house.asks(
        "/v1/chat/completions",
        messages=HI,
        max_tokens=9,
        max_completion_tokens=7,
        temperature=0,
        top_p=0.5,
        seed=3,
        stop="x",
        frequency_penalty=-2,
        presence_penalty=2,
        logit_bias={"5": -100},
    )
    assert request.sampling == Sampling(
        temperature=0,
        top_p=0.5,
        seed=3,
        max_tokens=7,
        stop=("x",),
        frequency_penalty=-2,
        presence_penalty=2,
        logit_bias=((5, -100),),
    )


@pytest.mark.parametrize(
    ("choice", "names", "internal"),
    [
        (None, ["weather", "clock"], None),
        ("auto", ["weather", "clock"], "auto"),
        ("required", ["weather", "clock"], "required"),
        ("none", [], None),
        ({"type": "function", "function": {"name": "clock"}}, ["clock"], "required"),
    ],
)
def test_a_choice_of_tools_is_kept(house: Front, choice: Any, names: list[str], internal: str | None) -> None:
    request = house.asks("/v1/chat/completions", messages=HI, tools=[TOOL, OTHER_TOOL], tool_choice=choice)
    assert [tool["function"]["name"] for tool in request.tools] == names
    assert request.tool_choice == internal
    assert request.parallel_tool_calls is True


def test_a_response_format_is_json_or_a_schema(house: Front) -> None:
    def format_of(value: Any) -> Any:
        return house.asks("/v1/chat/completions", messages=HI, response_format=value).response_format

    assert format_of({"type": "text"}) is None
    assert format_of({"type": "json_object"}) == "json"
    schema = {"type": "object"}
    assert format_of({"type": "json_schema", "json_schema": {"schema": schema}}) == schema


@pytest.mark.parametrize(
    ("given", "prompt"), [("Hi", "Hi"), (["Hi"], "Hi"), ([1, 2], (1, 2)), ([[1, 2]], (1, 2))]
)
def test_a_completion_takes_text_or_tokens(house: Front, given: Any, prompt: Any) -> None:
    request = house.asks("/v1/completions", prompt=given)
    assert request.prompt == prompt
    assert request.dialect_defaults.max_tokens == 16


def test_an_input_that_is_empty_is_named_by_its_number(house: Front) -> None:
    reply = house.client.post("/v1/embeddings", json={"model": "tiny", "input": ["a", ""]})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "input.1: it is empty")


def test_embeddings_are_asked_for_alike(house: Front) -> None:
    for path, body in (
        ("/api/embed", {"input": ["a"], "dimensions": 2}),
        ("/v1/embeddings", {"input": "a", "dimensions": 2}),
    ):
        assert house.client.post(path, json={"model": "tiny", **body}).status_code == 200
        request = house.backend.seen[-1]
        assert isinstance(request, EmbedRequest)
        assert request.texts == ("a",)
        assert request.dimensions == 2
        assert request.normalize
        assert request.truncate is (path == "/api/embed")  # OpenAI cuts nothing in silence
    assert house.client.post("/api/embeddings", json={"model": "tiny", "prompt": "a"}).status_code == 200
    older = house.backend.seen[-1]
    assert isinstance(older, EmbedRequest)
    assert not older.normalize


@pytest.mark.parametrize(("given", "texts"), [("", None), ([], None), (None, None), ([""], ("",))])
def test_no_text_loads_the_model_and_an_empty_one_in_a_list_is_embedded(
    house: Front, given: Any, texts: tuple[str, ...] | None
) -> None:
    count = len(house.backend.seen)
    assert bool(house.post("/api/embed", {"input": given})["embeddings"]) == bool(texts)
    asked = [each.texts for each in house.backend.seen[count:] if isinstance(each, EmbedRequest)]
    assert asked == ([texts] if texts else [])


@pytest.mark.parametrize(
    ("given", "where"), [(5, "input"), ({}, "input"), ([5], "input.0"), (["a", None], "input.1")]
)
def test_an_input_that_is_no_text_is_refused_in_ollamas_words(house: Front, given: Any, where: str) -> None:
    assert f'"invalid input type: {where} is no text"' in house.refuses("/api/embed", input=given)


def test_an_empty_prompt_loads_with_its_options(house: Front) -> None:
    body = {"model": "tiny", "keep_alive": "1m", "options": {"num_ctx": 99}}
    assert house.client.post("/api/generate", json=body).json()["done_reason"] == "load"
    assert house.backend.done[-1] == "load tiny 99 60.0"
    assert house.client.post("/api/chat", json={"model": "tiny", "keep_alive": 0}).json()["done"]
    assert house.backend.done[-1] == "unload tiny"


def test_nothing_reaches_the_backend_of_a_request_that_is_refused(house: Front) -> None:
    assert "top_logprobs" in house.refuses("/api/chat", messages=HI, top_logprobs=21)
    assert "temperature" in house.refuses("/v1/chat/completions", messages=HI, temperature=9)
    assert "raw mode" in house.refuses("/api/generate", prompt="Hi", raw=True, system="x")
    assert "tools" in house.refuses("/api/chat", messages=HI, tools=[TOOL] * 257)
    assert "logit_bias" in house.refuses(
        "/v1/chat/completions", messages=HI, logit_bias={str(n): 1 for n in range(1025)}
    )
    assert "input" in house.client.post("/api/embed", json={"model": "tiny", "input": ["a"] * 4097}).text


def test_every_answer_is_closed_when_it_is_over(house: Front) -> None:
    house.backend.done.clear()
    for model in ("tiny", "fragile", "caller"):
        house.client.post("/api/chat", json={"model": model, "messages": HI})
    assert house.backend.done == ["tiny", "fragile", "caller"]
