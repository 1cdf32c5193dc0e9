"""Requests into a worker's JSON, its events into chunks."""

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from hutch.core.chat import Chunk, Form, GenerateRequest, Message, Sampling, TokenLogprob, ToolCall, Usage
from hutch.core.names import ModelName
from hutch.engines.wire import ENGINE_DEFAULTS, chat_body, chat_chunk, completion_body, completion_chunk
from hutch.prompt.schema import ANY_OBJECT

TINY = ModelName.parse("tiny")
TOOL = {"type": "function", "function": {"name": "f"}}
IN_A_LINE = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FORM = Form("regex", "a", "guided_regex", "start: /a/")
TIMINGS = {"cache_n": 3, "prompt_n": 4, "prompt_ms": 500.0, "predicted_n": 5, "predicted_ms": 2000.0}
USAGE = Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=5, prompt_s=0.5, decode_s=2.0)


def chat(**fields: Any) -> dict[str, Any]:
    sampling = fields.pop("sampling", ENGINE_DEFAULTS)
    messages = fields.pop("messages", (Message("user", "hi"),))
    return chat_body(messages, GenerateRequest(TINY, messages=messages, **fields), sampling)


def completion(**fields: Any) -> dict[str, Any]:
    sampling = fields.pop("sampling", ENGINE_DEFAULTS)
    return completion_body("hi", GenerateRequest(TINY, prompt="hi", **fields), sampling)


SAMPLED = {
    "stream": True,
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,
    "n_predict": -1,
    "n_keep": 4,
}


def test_a_plain_request_says_every_default_and_nothing_else() -> None:
    said = {"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}}
    assert chat() == SAMPLED | said
    assert completion() == SAMPLED | {"prompt": "hi"}


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Sampling(stop=("a", "b")), {"stop": ["a", "b"]}),
        (Sampling(logit_bias=((5, -1.5), (7, 2.0))), {"logit_bias": [[5, -1.5], [7, 2.0]]}),
        (Sampling(max_tokens=9), {"n_predict": 9}),
        (Sampling(max_tokens=-2), {"n_predict": -1}),
        (Sampling(max_tokens=0), {"n_predict": 0}),
        (Sampling(seed=7, num_keep=0, temperature=0.0), {"seed": 7, "n_keep": 0, "temperature": 0.0}),
    ],
)
def test_sampling_is_said_in_the_engines_words(sampling: Sampling, said: dict[str, Any]) -> None:
    for body in (chat(sampling=sampling), completion(sampling=sampling)):
        assert {name: body[name] for name in said} == said


@pytest.mark.parametrize("sampling", [Sampling(stop=()), Sampling(logit_bias=()), Sampling()])
def test_what_is_empty_is_not_said(sampling: Sampling) -> None:
    assert not {"stop", "logit_bias"} & set(chat(sampling=sampling))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"a": 1, "b": [true, null, {"c": "d"}]}', None),
        ("{}", None),
        ('"a"', 0),
        ("[1]", 0),
        ('{"a": \n', 6),
        ('{"a":1', 5),
        ('{"a": ' + 31 * "[" + "1" + 31 * "]" + "}", None),
        ('{"a": ' + 40 * "[", 6 + 31),
        (40 * '{"a": ', 32 * 6),
    ],
)
def test_json_mode_gives_an_object_in_a_line_that_is_not_nested_for_ever(text: str, kept: int | None) -> None:
    schema = completion(response_format="json")["json_schema"]
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    assert matcher.try_consume_tokens(list(text.encode())) == (len(text) if kept is None else kept)
    assert matcher.is_accepting() == (kept is None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"top_logprobs": 0}, {"logprobs": True, "top_logprobs": 1}),
        ({"top_logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
        ({"tools": (TOOL,)}, {"tools": [TOOL], "parallel_tool_calls": False}),
        ({"tools": (TOOL,), "parallel_tool_calls": True}, {"tools": [TOOL], "parallel_tool_calls": True}),
        (
            {"tools": (TOOL,), "tool_choice": "required"},
            {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "required"},
        ),
        ({"tool_choice": "required"}, {}),
        ({"think": True}, {"chat_template_kwargs": {"enable_thinking": True}}),
        ({"think": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
        (
            {"response_format": "json"},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {**IN_A_LINE, **ANY_OBJECT}},
                }
            },
        ),
        (
            {"response_format": SCHEMA},
            {"response_format": {"type": "json_schema", "json_schema": {"schema": IN_A_LINE | SCHEMA}}},
        ),
        ({"response_format": FORM}, {"grammar": "start: /a/"}),
    ],
)
def test_a_chat_request_becomes_a_body(fields: dict[str, Any], said: dict[str, Any]) -> None:
    assert chat(**fields) == chat() | said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"top_logprobs": 0}, {"n_probs": 1}),
        ({"top_logprobs": 5}, {"n_probs": 5}),
        ({"response_format": "json"}, {"json_schema": {**IN_A_LINE, **ANY_OBJECT}}),
        ({"response_format": SCHEMA}, {"json_schema": IN_A_LINE | SCHEMA}),
        ({"response_format": FORM}, {"grammar": "start: /a/"}),
        ({"think": False}, {}),
    ],
)
def test_a_completion_request_becomes_a_body(fields: dict[str, Any], said: dict[str, Any]) -> None:
    assert completion(**fields) == completion() | said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message("system", ""), {"role": "system", "content": ""}),
        (
            Message("assistant", "a", thinking="hm"),
            {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        ),
        (
            Message("assistant", "", tool_calls=(ToolCall(0, "c1", "f", '{"a": 1}'),)),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
                ],
            },
        ),
        (
            Message("tool", "42", tool_call_id="c1", tool_name="f"),
            {"role": "tool", "content": "42", "tool_call_id": "c1", "name": "f"},
        ),
    ],
)
def test_a_message_becomes_json(message: Message, said: dict[str, Any]) -> None:
    assert chat(messages=(message,))["messages"] == [said]


@pytest.mark.parametrize(
    ("event", "chunk"),
    [
        ({}, Chunk()),
        ({"choices": []}, Chunk()),
        ({"choices": [{"delta": {"role": "assistant", "content": None}}]}, Chunk()),
        ({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]}, Chunk(text="a")),
        ({"choices": [{"delta": {"reasoning_content": "hm"}}]}, Chunk(thinking="hm")),
        ({"choices": [{"delta": {}, "finish_reason": "length"}]}, Chunk(finish_reason="length")),
        ({"choices": [], "timings": TIMINGS}, Chunk(usage=USAGE)),
        ({"choices": [], "timings": {}}, Chunk(usage=Usage())),
        (
            {"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": TIMINGS},
            Chunk(finish_reason="stop", usage=USAGE),
        ),
        ({"choices": [], "prompt_progress": {"total": 5, "processed": 2}}, Chunk()),
        (
            {
                "choices": [
                    {
                        "delta": {
                            "tool_calls": [
                                {"index": 1, "id": "c", "function": {"name": "f", "arguments": "{"}}
                            ]
                        }
                    }
                ]
            },
            Chunk(tool_calls=(ToolCall(1, "c", "f", "{"),)),
        ),
        (
            {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "}"}}, {}]}}]},
            Chunk(tool_calls=(ToolCall(0, "", "", "}"), ToolCall(0, "", "", ""))),
        ),
        (
            {
                "choices": [
                    {
                        "delta": {"content": "é"},
                        "logprobs": {
                            "content": [
                                {
                                    "token": "é",
                                    "logprob": -0.5,
                                    "bytes": [195, 169],
                                    "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": None}],
                                }
                            ]
                        },
                    }
                ]
            },
            Chunk(text="é", logprobs=(TokenLogprob("é", -0.5, (195, 169), (TokenLogprob("e", -1.0, ()),)),)),
        ),
    ],
)
def test_a_chat_event_becomes_a_chunk(event: dict[str, Any], chunk: Chunk) -> None:
    assert chat_chunk(event, 5) == chunk


def test_what_stopped_a_chat_is_told_where_the_worker_says_so() -> None:
    event = {"choices": [], "timings": TIMINGS, "stopping_word": "END"}
    assert chat_chunk(event, None) == Chunk(stopped_by="END", usage=USAGE)


@pytest.mark.parametrize(("top", "tokens"), [(None, ["a", "b"]), (0, []), (1, ["a"]), (2, ["a", "b"])])
def test_a_chunk_has_no_more_likely_tokens_than_were_asked_for(top: int | None, tokens: list[str]) -> None:
    event = {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": PROBABILITIES}}]}
    (entry,) = chat_chunk(event, top).logprobs
    assert [each.token for each in entry.top] == tokens
    (entry,) = completion_chunk({"content": "a", "completion_probabilities": PROBABILITIES}, top).logprobs
    assert [each.token for each in entry.top] == tokens


PROBABILITIES = [
    {
        "token": "a",
        "logprob": -0.1,
        "bytes": [97],
        "top_logprobs": [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -2.0}],
    }
]


@pytest.mark.parametrize(
    ("event", "top", "chunk"),
    [
        ({}, None, Chunk()),
        ({"content": "a", "stop": False}, None, Chunk(text="a")),
        ({"content": "a", "timings": TIMINGS}, None, Chunk(text="a")),
        ({"content": "", "stop": True, "stop_type": "eos"}, None, Chunk(finish_reason="stop")),
        ({"content": "", "stop": True, "stop_type": "word"}, None, Chunk(finish_reason="stop")),
        (
            {"content": "z", "stop": True, "stop_type": "limit", "timings": TIMINGS},
            None,
            Chunk(text="z", finish_reason="length", usage=USAGE),
        ),
        (
            {"content": "a", "completion_probabilities": PROBABILITIES},
            0,
            Chunk(text="a", logprobs=(TokenLogprob("a", -0.1, (97,)),)),
        ),
        (
            {"content": "a", "completion_probabilities": PROBABILITIES},
            1,
            Chunk(text="a", logprobs=(TokenLogprob("a", -0.1, (97,), (TokenLogprob("a", -0.1, ()),)),)),
        ),
    ],
)
def test_a_completion_event_becomes_a_chunk(event: dict[str, Any], top: int | None, chunk: Chunk) -> None:
    assert completion_chunk(event, top) == chunk
