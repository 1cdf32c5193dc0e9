"""TEMPLATEs with the real engine: tools, thoughts, the middle of a text, and what of it the API shows."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server, weights_in
from tests.contract.live import ask, own_models, running, serving

# Same in length, so that they may stand in the real file for tokens that nobody needs.
FIM = {
    b"<issue_closed>": b"<|fim_prefix|>",
    b"<jupyter_text>": b"<|fim_suffix|>",
    b"<jupyter_code>": b"<|fim_middle|>",
}
TOOLS = """{{- if .Tools }}Tools: {{ .Tools }}
{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}
{{ if .ToolCalls }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}{{ end }}
{{- else }}{{ .Content }}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
THINKS = """{{ range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ if .Think }}<think>{{ .ThinkLevel }}<think>{{ end }}"""
SUFFIX = "{{ if .Suffix }}Before: {{ .Prompt }} After: {{ .Suffix }} Between:{{ else }}{{ .Prompt }}{{ end }}"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "pattern": "^B"}}},
    },
}
# An answer of this form is a call of that tool, whatever the model would say.
CALL = {
    "type": "object",
    "properties": {
        "name": {"const": "weather"},
        "arguments": {
            "type": "object",
            "properties": {"city": {"enum": ["Bern"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "arguments"],
    "additionalProperties": False,
}
HI = [{"role": "user", "content": "Hi"}]
FEW = {"temperature": 0, "num_predict": 8}


@pytest.fixture(scope="module")
def house(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with models that differ in their TEMPLATE, and one whose vocabulary can fill in the middle."""
    folder = tmp_path_factory.mktemp("templates")
    with serving(folder / "home", own_models(models_dir, folder / "models"), NUM_PARALLEL="1") as server:
        for name, template in (("tools", TOOLS), ("thinks", THINKS), ("suffix", SUFFIX)):
            create(server, name, {"from": MODEL, "template": template})
        create(server, "coder", {"files": coder(server, models_dir)})
        yield server


def coder(server: Server, models_dir: Path) -> dict[str, str]:
    """The digests of the model's files, of which the one with the vocabulary has other tokens."""
    [manifest] = (models_dir / "manifests").rglob("135m")
    titled = {
        layer.get("annotations", {}).get("org.opencontainers.image.title"): layer["digest"]
        for layer in json.loads(manifest.read_bytes())["layers"]
    }
    files = {name: digest for name, digest in titled.items() if name}
    changed = (
        models_dir / "blobs" / files["tokenizer.json"].replace(":", "-") if files else weights_in(models_dir)
    )
    data = changed.read_bytes()
    for token, other in FIM.items():
        data = data.replace(token, other, -1 if files else 1)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert ask(server, "POST", f"/api/blobs/{digest}", data).status == 201
    return files | {"tokenizer.json" if files else "coder.gguf": digest}


def create(server: Server, name: str, body: dict[str, Any]) -> None:
    reply = ask(server, "POST", "/api/create", {"model": name, "stream": False, **body})
    assert reply.status == 200, reply.body


def rendered(server: Server, path: str, **body: Any) -> str:
    """The prompt that the model would be sent."""
    reply = ask(server, "POST", path, {"_debug_render_only": True, **body})
    assert reply.status == 200, reply.body
    assert set(reply.json) <= {"model", "created_at", "response", "message", "done", "_debug_info"}
    return str(reply.json["_debug_info"]["rendered_template"])


def can(server: Server, model: str) -> list[str]:
    """The capabilities that `show` tells."""
    return list(ask(server, "POST", "/api/show", {"model": model}).json["capabilities"])


@EVERY_ENGINE
def test_what_a_model_can_do_is_what_its_template_can(house: Server) -> None:
    assert can(house, MODEL) == ["completion"]
    assert can(house, "tools") == ["completion", "tools"]
    assert can(house, "thinks") == ["completion", "thinking"]
    assert can(house, "suffix") == ["completion", "insert"]
    assert can(house, "coder") == ["completion", "insert"]
    assert ask(house, "POST", "/api/show", {"model": "tools"}).json["template"] == TOOLS


@EVERY_ENGINE
def test_the_rendered_prompt_is_shown(house: Server) -> None:
    assert rendered(house, "/api/chat", model=MODEL, messages=HI).endswith(
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    history = [
        *HI,
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Bern"}}}],
        },
        {"role": "tool", "content": "sunny", "tool_name": "weather"},
    ]
    prompt = rendered(house, "/api/chat", model="tools", messages=history, tools=[WEATHER])
    assert prompt == (
        f"Tools: {json.dumps([WEATHER], separators=(',', ':'))}\n<|im_start|>user\nHi<|im_end|>\n"
        '<|im_start|>assistant\n{"name": "weather", "arguments": {"city":"Bern"}}<|im_end|>\n'
        "<|im_start|>tool\nsunny<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (
        rendered(house, "/api/generate", model="suffix", prompt="a", suffix="b")
        == "Before: a After: b Between:"
    )
    assert rendered(house, "/api/generate", model="thinks", prompt="a", think="low").endswith(
        "<think>low<think>"
    )


@EVERY_ENGINE
def test_tools_of_a_template_are_called_in_both_dialects(house: Server) -> None:
    body = {
        "model": "tools",
        "messages": HI,
        "tools": [WEATHER],
        "options": {"temperature": 0},
        "format": CALL,
    }
    lines = ask(house, "POST", "/api/chat", body).lines
    [call] = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Bern"}}
    assert "".join(line["message"]["content"] for line in lines) == ""
    assert lines[-1]["done_reason"] == "stop"
    form = {"type": "json_schema", "json_schema": {"schema": CALL}}
    openai = {"model": "tools", "messages": HI, "tools": [WEATHER], "response_format": form}
    [choice] = ask(house, "POST", "/v1/chat/completions", openai).json["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"]) == {"city": "Bern"}


@EVERY_ENGINE
def test_a_model_with_tools_still_answers_in_words(house: Server) -> None:
    body = {"model": "tools", "messages": HI, "tools": [WEATHER], "options": FEW, "stream": False}
    message = ask(house, "POST", "/api/chat", body).json["message"]
    assert message["content"]
    assert "tool_calls" not in message


@EVERY_ENGINE
def test_thoughts_of_a_template_are_told_apart(house: Server) -> None:
    body = {"model": "thinks", "messages": HI, "options": FEW, "stream": False}
    message = ask(house, "POST", "/api/chat", body).json["message"]
    assert message["thinking"]
    assert message["content"] == ""
    message = ask(house, "POST", "/api/chat", {**body, "think": False}).json["message"]
    assert message["content"]
    assert "thinking" not in message


@EVERY_ENGINE
@pytest.mark.parametrize("model", ["suffix", "coder"])
def test_the_middle_of_a_text_is_filled_in(house: Server, model: str) -> None:
    body = {
        "model": model,
        "prompt": "def add(a, b):\n",
        "suffix": "\n    return c",
        "options": FEW,
        "stream": False,
    }
    reply = ask(house, "POST", "/api/generate", body)
    assert reply.status == 200, reply.body
    assert reply.json["eval_count"] > 0
    assert reply.json["context"]
    openai = {"model": model, "prompt": "def add(a, b):\n", "suffix": "\n    return c", "max_tokens": 4}
    assert ask(house, "POST", "/v1/completions", openai).json["usage"]["completion_tokens"] > 0


@EVERY_ENGINE
def test_the_files_own_tokens_ask_for_the_middle_as_tokens(house: Server) -> None:
    prompt = rendered(house, "/api/generate", model="coder", prompt="a", suffix="b")
    assert prompt == "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    reply = ask(
        house,
        "POST",
        "/api/generate",
        {"model": "coder", "prompt": "a", "suffix": "b", "options": FEW, "stream": False},
    )
    assert reply.json["prompt_eval_count"] == 5


@EVERY_ENGINE
@pytest.mark.parametrize("path", ["/api/generate", "/v1/completions"])
def test_a_model_that_cannot_fill_in_says_so(house: Server, path: str) -> None:
    reply = ask(house, "POST", path, {"model": MODEL, "prompt": "a", "suffix": "b", "stream": False})
    assert reply.status == 400
    assert f"{MODEL} does not support insert" in reply.error


@pytest.mark.parametrize(
    ("limit", "num_words"),
    [pytest.param({}, 900, marks=pytest.mark.slow), ({"num_predict": 300}, 120)],
)
def test_a_shifted_context_goes_on_and_yet_ends(house: Server, limit: dict[str, int], num_words: int) -> None:
    assert ask(house, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0}).status == 200
    endless = {"type": "array", "items": {"const": "and"}, "minItems": num_words}
    options = {"num_ctx": 256, "temperature": 0} | limit
    body = {"model": MODEL, "prompt": "Go on.", "options": options, "format": endless, "stream": False}
    stopped = ask(house, "POST", "/api/generate", {**body, "shift": False}).json
    assert (stopped["done_reason"], stopped["eval_count"] < 256) == ("length", True)
    pid = running(house)[MODEL]["pid"]
    shifted = ask(house, "POST", "/api/generate", {**body, "shift": True}).json
    assert (shifted["done_reason"], shifted["eval_count"]) == ("length", limit.get("num_predict", 10 * 256))
    assert running(house)[MODEL]["pid"] != pid  # it is loaded so, or not


@EVERY_ENGINE
def test_a_model_that_thinks_by_its_template_answers_in_a_format_afterwards(house: Server) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"sky": {"enum": ["blue"]}},
        "required": ["sky"],
        "additionalProperties": False,
    }
    body = {"model": "thinks", "messages": HI, "format": schema, "stream": False, "think": True}
    options = {"temperature": 0, "num_predict": 200, "stop": ["."]}
    reply = ask(house, "POST", "/api/chat", body | {"options": options}).json
    assert json.loads(reply["message"]["content"]) == {"sky": "blue"}
    short = ask(house, "POST", "/api/chat", body | {"options": FEW}).json
    assert (short["message"]["content"], short["done_reason"], short["eval_count"]) == ("", "length", 8)
    assert short["message"]["thinking"]


@EVERY_ENGINE
def test_openais_effort_is_ollamas_level(house: Server) -> None:
    body: dict[str, Any] = {"messages": HI, "max_tokens": 2, "temperature": 0}
    thinks = body | {"model": "thinks"}
    none, low, said = (
        ask(house, "POST", "/v1/chat/completions", thinks | more).json["usage"]["prompt_tokens"]
        for more in (
            {"reasoning_effort": "none"},
            {"reasoning_effort": "minimal"},
            {"reasoning": {"effort": "low"}},
        )
    )
    assert none < low == said
    refused = ask(house, "POST", "/v1/chat/completions", body | {"model": MODEL, "reasoning_effort": "low"})
    assert refused.status == 400
    assert refused.json["error"]["param"] == "reasoning_effort"
    assert refused.json["error"]["message"].startswith(
        f'reasoning_effort: "{MODEL}" does not support thinking'
    )
    assert (
        ask(house, "POST", "/v1/chat/completions", body | {"model": MODEL, "reasoning_effort": "none"}).status
        == 200
    )
