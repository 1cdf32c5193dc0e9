"""Tools and thoughts by the templates of the families in the catalog, in all four dialects.

The models are of random weights: what they write is a call because they must call, and its arguments are what they must be. How
calls and thoughts are found in a GGUF model's answers is llama.cpp's own affair, and takes its templates as they were published.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_llama
from tests.conftest import ENGINES, Server
from tests.contract.live import ask, serving
from tests.family_templates import TEMPLATES
from tests.onnx_files import Shape, write_llama

pytestmark = pytest.mark.slow

ON_BOTH = pytest.mark.parametrize("house", ENGINES, indirect=True)
ON_ONNX = pytest.mark.parametrize("house", ["onnx"], indirect=True)
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Bern"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"name": "get_weather", "description": "Tells the weather."}
FUNCTION = {"type": "function", "function": {**TOOL, "parameters": PARAMETERS}}
CALL = ("get_weather", {"city": "Bern"})
HI = [{"role": "user", "content": "Weather in Bern?"}]
WITH_TOOLS = ["llama3", "qwen2.5", "qwen3", "phi4", "mistral"]


@pytest.fixture(scope="module")
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a small model of an engine for each family."""
    folder = tmp_path_factory.mktemp("families")
    with serving(folder / "home", folder / "models", NUM_PARALLEL="1") as server:
        for name, template in TEMPLATES.items():
            made = folder / name
            if request.param == "onnx":
                write_llama(made, Shape(context=2048), template=template)
            else:
                tiny_llama.write(made, template=template)
            files = {path.name: sent(server, path) for path in made.iterdir()}
            body = {"model": name, "files": files, "parameters": {"num_ctx": 2048}, "stream": False}
            reply = ask(server, "POST", "/api/create", body)
            assert reply.status == 200, reply.body
        yield server


def sent(server: Server, path: Path) -> str:
    """The digest of a file that the server now has."""
    data = path.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert ask(server, "POST", f"/api/blobs/{digest}", data).status in (200, 201)
    return digest


def called(server: Server, path: str, body: dict[str, Any]) -> Any:
    """The one call in an answer: its name and arguments."""
    reply = ask(server, "POST", path, {"temperature": 1, **body})
    assert reply.status == 200, reply.body
    said = reply.json
    if path == "/v1/messages":
        assert said["stop_reason"] == "tool_use"
        [block] = [block for block in said["content"] if block["type"] == "tool_use"]
        return block["name"], block["input"]
    if path == "/v1/responses":
        [item] = [item for item in said["output"] if item["type"] == "function_call"]
        return item["name"], json.loads(item["arguments"])
    [choice] = said["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    return call["function"]["name"], json.loads(call["function"]["arguments"])


@ON_ONNX
@pytest.mark.parametrize("family", WITH_TOOLS)
def test_a_model_that_must_call_calls_in_every_dialect(house: Server, family: str) -> None:
    chat: dict[str, Any] = {"model": family, "messages": HI, "tools": [FUNCTION], "max_tokens": 400}
    chat["parallel_tool_calls"] = False
    if family == "qwen3":
        chat["reasoning_effort"] = "none"
    assert called(house, "/v1/chat/completions", {**chat, "tool_choice": "required"}) == CALL
    named = {"type": "function", "function": {"name": "get_weather"}}
    other = {"type": "function", "function": {"name": "other", "parameters": PARAMETERS}}
    body = {**chat, "tools": [other, FUNCTION], "tool_choice": named}
    assert called(house, "/v1/chat/completions", body) == CALL
    anthropic: dict[str, Any] = {"model": family, "messages": HI, "max_tokens": 400}
    anthropic["tools"] = [{**TOOL, "input_schema": PARAMETERS}]
    anthropic["tool_choice"] = {"type": "any", "disable_parallel_tool_use": True}
    assert called(house, "/v1/messages", anthropic) == CALL
    responses: dict[str, Any] = {"model": family, "input": HI, "max_output_tokens": 400}
    responses |= {
        "tools": [{"type": "function", **TOOL, "parameters": PARAMETERS}],
        "tool_choice": "required",
    }
    responses["parallel_tool_calls"] = False
    if family == "qwen3":
        responses["reasoning"] = {"effort": "none"}
    assert called(house, "/v1/responses", responses) == CALL


@ON_ONNX
@pytest.mark.parametrize("family", WITH_TOOLS)
def test_a_model_that_may_call_answers_in_every_dialect(house: Server, family: str) -> None:
    few = {"model": family, "max_tokens": 8, "messages": HI}
    tool = {**TOOL, "input_schema": PARAMETERS}
    for path, body in (
        ("/api/chat", {**few, "tools": [FUNCTION], "options": {"num_predict": 8}, "stream": False}),
        ("/v1/chat/completions", {**few, "tools": [FUNCTION]}),
        ("/v1/chat/completions", {**few, "tools": [FUNCTION], "tool_choice": "none"}),
        ("/v1/messages", {**few, "tools": [tool]}),
        ("/v1/responses", {"model": family, "input": "Hi", "max_output_tokens": 8, "tools": []}),
    ):
        reply = ask(house, "POST", path, body)
        assert reply.status == 200, (path, reply.body)


@ON_ONNX
@pytest.mark.parametrize("family", ["llama3", "qwen2.5", "qwen3", "mistral", "deepseek-r1"])
def test_calls_and_results_are_told_by_the_template(house: Server, family: str) -> None:
    arguments = {"city": "Bern"}
    history = [
        *HI,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "get_weather", "arguments": arguments}}],
        },
        {"role": "tool", "content": "sunny", "tool_name": "get_weather"},
    ]
    body = {"model": family, "messages": history, "tools": [FUNCTION], "_debug_render_only": True}
    reply = ask(house, "POST", "/api/chat", body)
    assert reply.status == 200, reply.body
    prompt = reply.json["_debug_info"]["rendered_template"]
    assert "sunny" in prompt
    assert "Bern" in prompt.split("sunny")[0].split("Weather in Bern?")[1]


@ON_BOTH
def test_a_template_that_knows_no_tools_is_refused_them_in_every_dialect(house: Server) -> None:
    few = {"model": "gemma", "max_tokens": 8, "messages": HI}
    responses = {"model": "gemma", "input": "Hi", "tools": [{"type": "function", **TOOL}]}
    for path, body in (
        ("/api/chat", {**few, "tools": [FUNCTION]}),
        ("/v1/chat/completions", {**few, "tools": [FUNCTION]}),
        ("/v1/messages", {**few, "tools": [{**TOOL, "input_schema": PARAMETERS}]}),
        ("/v1/responses", responses),
    ):
        reply = ask(house, "POST", path, body)
        assert reply.status == 400
        assert "does not support tools" in reply.error
    assert ask(house, "POST", "/v1/chat/completions", few).status == 200


@ON_BOTH
def test_what_a_model_can_do_is_what_its_template_can(house: Server) -> None:
    can = {
        name: set(ask(house, "POST", "/api/show", {"model": name}).json["capabilities"]) for name in TEMPLATES
    }
    assert {name for name in can if "tools" in can[name]} == {*WITH_TOOLS, "deepseek-r1"}
    assert {name for name in can if "thinking" in can[name]} == {"qwen3", "deepseek-r1"}


@ON_ONNX
def test_thoughts_are_told_apart_in_every_dialect(house: Server) -> None:
    few: dict[str, Any] = {"model": "deepseek-r1", "max_tokens": 12, "messages": HI}
    ollama = {**few, "options": {"num_predict": 12}, "stream": False}
    message = ask(house, "POST", "/api/chat", ollama).json["message"]
    assert message["thinking"]
    assert not message["content"]
    [choice] = ask(house, "POST", "/v1/chat/completions", few).json["choices"]
    assert choice["message"]["reasoning_content"]
    assert not choice["message"]["content"]
    blocks = ask(
        house, "POST", "/v1/messages", {**few, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    )
    assert [block["type"] for block in blocks.json["content"]] == ["thinking"]
    body = {"model": "deepseek-r1", "input": "Hi", "max_output_tokens": 12}
    items = ask(house, "POST", "/v1/responses", body).json["output"]
    assert "reasoning" in {item["type"] for item in items}


@ON_BOTH
@pytest.mark.parametrize("effort", ["none", None])
def test_an_answer_has_its_form_behind_the_thoughts(house: Server, effort: str | None) -> None:
    body: dict[str, Any] = {"model": "qwen3", "messages": HI, "max_tokens": 60, "guided_regex": "[ab]{4}"}
    if effort:
        body["reasoning_effort"] = effort
    [choice] = ask(house, "POST", "/v1/chat/completions", body).json["choices"]
    assert set(choice["message"]["content"]) <= set("ab")
    assert len(choice["message"]["content"]) == 4
    assert choice["finish_reason"] == "stop"
