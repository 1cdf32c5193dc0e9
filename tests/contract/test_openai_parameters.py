"""Every parameter that OpenAI documents for chats and completions: what it does here, or how it is refused.

The lists of parameters are those of the `openai` package's own types: one that it adds has no row, and fails.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, get_args, get_type_hints

import pytest
from openai.types import completion_create_params as texts
from openai.types import embedding_create_params as embeddings
from openai.types.chat import (
    ChatCompletionContentPartParam,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolUnionParam,
)
from openai.types.chat import chat_completion_stream_options_param as stream_options
from openai.types.chat import completion_create_params as chats
from openai.types.chat.chat_completion_assistant_message_param import ContentArrayOfContentPart
from openai.types.shared_params import ReasoningEffort

from hutch.core.chat import Image, Message, ToolCall
from tests.contract.house import Front
from tests.picture_files import png

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HI = [{"role": "user", "content": "Hi"}]
LEAST: Mapping[str, dict[str, Any]] = {CHAT: {"messages": HI}, TEXT: {"prompt": "Hi"}, EMBED: {"input": "Hi"}}
SCHEMA = {"type": "object", "properties": {"legs": {"type": "integer"}}}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
CLOCK = {"name": "clock"}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": CLOCK}]
STRICT_CLOCK = {"type": "function", "function": CLOCK | {"description": "Tells the time", "strict": True}}
PICTURE = base64.b64encode(png(2, 2)).decode()
PICTURE_PART = {
    "type": "image_url",
    "image_url": {"url": f"data:image/png;base64,{PICTURE}", "detail": "low"},
}
TEXT_PART = {"type": "text", "text": "Hi"}
CALL = {"name": "clock", "arguments": "{}"}


@dataclass(frozen=True)
class Heard:
    """The parameter reaches the backend: `field` of the internal request is then `is_`."""

    value: Any
    field: str
    is_: Any
    more: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Told:
    """The parameter changes how the answer is told: `text` is in it, and without the parameter it is not."""

    value: Any
    text: str
    more: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Accepted:
    """Bookkeeping: nothing is another for it, and no header says that it was passed over."""

    value: Any


@dataclass(frozen=True)
class Refused:
    """A 400 that names it."""

    value: Any
    also_fine: Any = None  # what asks for that which is done anyway


def _of(role: str, *parts: Mapping[str, Any], **more: str) -> dict[str, Any]:
    return {"role": role, "content": list(parts), **more}


Row = Heard | Told | Accepted | Refused


CHAT_ROWS: Mapping[str, tuple[Row, ...]] = {
    "messages": (
        Heard(
            [{"role": "developer", "content": "Be brief."}, *HI], "messages.0", Message("system", "Be brief.")
        ),
        Heard([_of("system", TEXT_PART, TEXT_PART), *HI], "messages.0", Message("system", "Hi\nHi")),
        Heard([_of("user", TEXT_PART)], "messages.0", Message("user", "Hi")),
        Heard([_of("user", TEXT_PART, name="Ann")], "messages.0.content", "Hi"),
        Heard([_of("user", PICTURE_PART)], "messages.0.images", (Image("image/png", PICTURE),)),
        Heard(
            [_of("user", PICTURE_PART | {"prompt_cache_breakpoint": {"mode": "explicit"}})],
            "messages.0.images",
            (Image("image/png", PICTURE),),
        ),
        Heard(
            [*HI, {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": CALL}]}],
            "messages.1.tool_calls",
            (ToolCall(0, "c", "clock", "{}"),),
        ),
        Heard(
            [*HI, {"role": "assistant", "content": None, "function_call": CALL}],
            "messages.1.tool_calls",
            (ToolCall(0, "", "clock", "{}"),),
        ),
        Heard(
            [*HI, {"role": "function", "name": "clock", "content": "12"}],
            "messages.1",
            Message("tool", "12", tool_name="clock"),
        ),
        Heard([*HI, _of("tool", TEXT_PART, tool_call_id="c")], "messages.1.tool_call_id", "c"),
        Heard(
            [*HI, _of("assistant", {"type": "refusal", "refusal": "No."}), *HI],
            "messages.1",
            Message("assistant", "No."),
        ),
        Heard(
            [*HI, {"role": "assistant", "content": None, "refusal": "No."}, *HI], "messages.1.content", "No."
        ),
        Refused([*HI, {"role": "assistant", "audio": {"id": "a"}}, *HI]),
        Refused([*HI, {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}]),
        Refused([_of("user", {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})]),
        Refused([_of("user", {"type": "file", "file": {"file_id": "f"}})]),
        Refused([_of("user", {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})]),
        Refused([{"role": "king", "content": "Hi"}]),
        Refused([]),
    ),
    "model": (Heard("other", "model.model", "other"),),
    "stream": (Told(value=True, text="data: [DONE]"),),
    "stream_options": (
        Told({"include_usage": True}, '"prompt_tokens"', {"stream": True}),
        Accepted({"include_obfuscation": False}),
    ),
    "temperature": (Heard(0.25, "sampling.temperature", 0.25), Refused(2.5), Refused(-1)),
    "top_p": (Heard(0.5, "sampling.top_p", 0.5), Refused(1.5)),
    "frequency_penalty": (Heard(1.5, "sampling.frequency_penalty", 1.5), Refused(3)),
    "presence_penalty": (Heard(-1.5, "sampling.presence_penalty", -1.5), Refused(-3)),
    "logit_bias": (
        Heard({"7": -100}, "sampling.logit_bias", ((7, -100.0),)),
        Refused({"seven": 1}),
        Refused({"7": 101}),
        Refused({str(1 << 40): 1}),
    ),
    "logprobs": (
        Heard(value=True, field="top_logprobs", is_=0),
        Told(value=True, text='"logprob":-0.25'),
        Heard(value=False, field="top_logprobs", is_=None),
    ),
    "top_logprobs": (Heard(3, "top_logprobs", 3, {"logprobs": True}), Refused(21), Refused(3)),
    "max_tokens": (Heard(7, "sampling.max_tokens", 7), Refused(-1)),
    "max_completion_tokens": (Heard(7, "sampling.max_tokens", 7, {"max_tokens": 9}), Refused(-1)),
    "n": (Heard(3, "num_choices", 3), Told(2, '"index":1'), Refused(0), Refused(129), Refused(10**12)),
    "seed": (Heard(7, "sampling.seed", 7),),
    "stop": (
        Heard("a", "sampling.stop", ("a",)),
        Heard(["a", "b"], "sampling.stop", ("a", "b")),
        Refused(["a"] * 65),
    ),
    "response_format": (
        Heard({"type": "text"}, "response_format", None),
        Heard({"type": "json_object"}, "response_format", "json"),
        Heard(
            {"type": "json_schema", "json_schema": {"name": "dog", "schema": SCHEMA}},
            "response_format",
            SCHEMA,
        ),
        Heard(
            {"type": "json_schema", "json_schema": {"name": "dog", "schema": SCHEMA, "strict": True}},
            "response_format",
            SCHEMA,
        ),
        Refused({"type": "poem"}),
        Refused({"type": "json_schema", "json_schema": {"name": "dog"}}),
    ),
    "tools": (
        Heard(TOOLS, "tools", tuple(TOOLS)),
        Heard([STRICT_CLOCK], "tools", (STRICT_CLOCK,)),
        Refused([{"type": "custom", "custom": {"name": "free"}}]),
        Refused([{"type": "function", "function": {}}]),
    ),
    "tool_choice": (
        Heard("none", "tools", (), {"tools": TOOLS}),
        Heard("auto", "tool_choice", "auto", {"tools": TOOLS}),
        Heard("required", "tool_choice", "required", {"tools": TOOLS}),
        Heard({"type": "function", "function": {"name": "clock"}}, "tools", (TOOLS[1],), {"tools": TOOLS}),
        Heard(
            {"type": "function", "function": {"name": "clock"}}, "tool_choice", "required", {"tools": TOOLS}
        ),
        Heard(
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOLS[0]]}},
            "tools",
            (TOOLS[0],),
            {"tools": TOOLS},
        ),
        Refused({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOLS[0]]}}),
        Refused({"type": "function", "function": {"name": "clock"}}),
        Refused({"type": "custom", "custom": {"name": "free"}}),
        Refused("required"),
        Refused("perhaps"),
    ),
    "parallel_tool_calls": (
        Heard(value=False, field="parallel_tool_calls", is_=False),
        Heard(value=True, field="parallel_tool_calls", is_=True),
    ),
    "functions": (
        Heard([WEATHER, CLOCK], "tools", tuple(TOOLS)),
        Heard([CLOCK], "parallel_tool_calls", is_=False),
        Told([CLOCK], '"finish_reason":"function_call"', {"model": "caller"}),
        Told([CLOCK], '"function_call":{"name":"weather"', {"model": "caller", "stream": True}),
        Refused([{}]),
    ),
    "function_call": (
        Heard("none", "tools", (), {"functions": [CLOCK]}),
        Heard("auto", "tool_choice", "auto", {"functions": [CLOCK]}),
        Heard({"name": "clock"}, "tool_choice", "required", {"functions": [WEATHER, CLOCK]}),
        Heard({"name": "clock"}, "tools", (TOOLS[1],), {"functions": [WEATHER, CLOCK]}),
        Refused("auto"),
        Refused({"name": "clock"}),
    ),
    "reasoning_effort": (
        Heard("minimal", "think", "low"),
        Heard("low", "think", "low"),
        Heard("medium", "think", "medium"),
        Heard("high", "think", "high"),
        Heard("xhigh", "think", "max"),
        Heard("ultra", "think", "max"),
        Heard("max", "think", "max"),
        Heard("none", "think", is_=False),
        Refused("much"),
    ),
    "verbosity": (Refused("low", also_fine="medium"), Refused("high")),
    "modalities": (Refused(["text", "audio"], also_fine=["text"]),),
    "audio": (Refused({"voice": "ash", "format": "wav"}),),
    "web_search_options": (Refused({}),),
    "moderation": (Refused({"model": "omni-moderation-latest"}),),
    "prediction": (Accepted({"type": "content", "content": "Hi"}),),
    "metadata": (Accepted({"a": "b"}),),
    "store": (Accepted(value=True),),
    "service_tier": (Accepted("flex"),),
    "user": (Accepted("me"),),
    "safety_identifier": (Accepted("me"),),
    "prompt_cache_key": (Accepted("mine"),),
    "prompt_cache_options": (Accepted({"mode": "explicit"}),),
    "prompt_cache_retention": (Accepted("24h"),),
}
_SHARED = (
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "max_tokens",
    "n",
    "seed",
    "stop",
    "user",
)
TEXT_ROWS: Mapping[str, tuple[Row, ...]] = {name: CHAT_ROWS[name] for name in _SHARED} | {
    "prompt": (
        Heard("a", "prompt", "a"),
        Heard(["a"], "prompt", "a"),
        Heard([1, 2], "prompt", (1, 2)),
        Heard([[1, 2]], "prompt", (1, 2)),
        Heard(None, "prompt", "<|endoftext|>"),
        Told(["a", "b"], '"index":1'),
        Told([[1], [2]], '"index":1'),
        *map(
            Refused,
            (
                [],
                [[]],
                "",
                [""],
                ["a", ""],
                ["a", 1],
                [[1], "a"],
                [-1],
                [1 << 31],
                ["a"] * 10_000,
                {"a": 1},
                [1.5],
                [True],
            ),
        ),
    ),
    "suffix": (Heard("b", "suffix", "b"),),
    "echo": (Heard(value=True, field="echo", is_=True), Told(value=True, text='"text":"HiHello')),
    "logprobs": (
        Heard(3, "top_logprobs", 3),
        Told(1, '"token_logprobs":[-0.25'),
        Told(1, '"token_logprobs":[null', {"echo": True, "prompt": "a b"}),
        Refused(6),
        Refused(-1),
        Refused(value=True),
    ),
    "best_of": (Heard(3, "num_choices", 3), Refused(21), Refused(0)),
}
EMBED_ROWS: Mapping[str, tuple[Row, ...]] = {
    "model": CHAT_ROWS["model"],
    "input": (
        Heard("a", "texts", ("a",)),
        Heard(["a", "b"], "texts", ("a", "b")),
        Heard([1, 2], "texts", ((1, 2),)),
        Heard([[1, 2], [3]], "texts", ((1, 2), (3,))),
        *map(
            Refused, ([], [[]], "", ["a", ""], ["a", 1], [[1], "a"], [-1], [1 << 31], ["a"] * 10_000, 7, None)
        ),
    ),
    "dimensions": (Heard(2, "dimensions", 2), Refused(0), Refused(-1)),
    "encoding_format": (Told("base64", '"embedding":"'), Heard("float", "texts", ("Hi",)), Refused("hex")),
    "user": CHAT_ROWS["user"],
}
_ROWS = {CHAT: CHAT_ROWS, TEXT: TEXT_ROWS, EMBED: EMBED_ROWS}
_CASES = [(path, name, row) for path, rows in _ROWS.items() for name, each in rows.items() for row in each]
_NAMES = [f"{path.rsplit('/', 1)[1]}-{name}" for path, name, _ in _CASES]


def _documented(*kinds: Any) -> set[str]:
    return {name for kind in kinds for name in kind.__annotations__}


def test_every_documented_parameter_has_a_row() -> None:
    streamed = (chats.CompletionCreateParamsStreaming, chats.CompletionCreateParamsNonStreaming)
    assert set(CHAT_ROWS) == _documented(chats.CompletionCreateParamsBase, *streamed)
    texts_streamed = (texts.CompletionCreateParamsStreaming, texts.CompletionCreateParamsNonStreaming)
    assert set(TEXT_ROWS) == _documented(texts.CompletionCreateParamsBase, *texts_streamed)
    assert set(EMBED_ROWS) == _documented(embeddings.EmbeddingCreateParams)
    options = _documented(stream_options.ChatCompletionStreamOptionsParam)
    assert options == {name for row in CHAT_ROWS["stream_options"] for name in getattr(row, "value", {})}


@pytest.mark.parametrize(
    ("name", "union"),
    [
        ("messages", ChatCompletionContentPartParam | ContentArrayOfContentPart),
        ("response_format", chats.ResponseFormat),
        ("tools", ChatCompletionToolUnionParam),
        ("tool_choice", ChatCompletionToolChoiceOptionParam),
        ("reasoning_effort", ReasoningEffort),
    ],
)
def test_every_documented_kind_of_a_value_has_a_row(name: str, union: Any) -> None:
    rows = str([row.value for row in CHAT_ROWS[name]])
    for member in get_args(union):
        if member is not type(None):
            kinds = get_args(member) or get_args(get_type_hints(member)["type"])
            assert [kind for kind in kinds if f"'{kind}'" not in rows] == []


@pytest.mark.parametrize(("path", "name", "row"), _CASES, ids=_NAMES)
def test_the_parameter_does_what_its_row_says(house: Front, path: str, name: str, row: Row) -> None:
    body = {"model": "tiny", **LEAST[path], **(getattr(row, "more", None) or {})}
    match row:
        case Heard(value, field, is_):
            house.client.post(path, json=body | {name: value})
            assert _field(house.backend.seen[-1], field) == is_
        case Told(value, text):
            assert text not in house.client.post(path, json=body).text
            reply = house.client.post(path, json=body | {name: value})
            assert (reply.status_code, text in reply.text) == (200, True), reply.text
        case Accepted(value):
            house.client.post(path, json=body)
            plain = house.backend.seen[-1]
            reply = house.client.post(path, json=body | {name: value})
            assert (reply.status_code, "x-hutch-ignored" in reply.headers) == (200, False)
            assert house.backend.seen[-1] == plain
        case Refused(value, also_fine):
            error = house.client.post(path, json=body | {name: value})
            assert error.status_code == 400, error.text
            assert name in error.json()["error"]["message"]
            assert str(error.json()["error"]["param"]).startswith(name)
            assert (
                house.client.post(path, json=body | {name: also_fine}).status_code == 200 or also_fine is None
            )


def _field(request: Any, path: str) -> Any:
    def step(value: Any, name: str) -> Any:
        return value[int(name)] if name.isdecimal() else getattr(value, name)

    return reduce(step, path.split("."), request)


@pytest.mark.parametrize("path", _ROWS)
def test_what_nobody_documented_is_passed_over_and_named(house: Front, path: str) -> None:
    reply = house.client.post(path, json={"model": "tiny", **LEAST[path], "flux": 1})
    assert (reply.status_code, reply.headers["x-hutch-ignored"]) == (200, "flux")
