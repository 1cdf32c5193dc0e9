"""TEMPLATEs of the well-known shapes, written anew: what they make of conversations."""

import json
from typing import Any

import pytest

from hutch.core.chat import Message, ToolCall
from hutch.core.errors import BadInput
from hutch.prompt.template import parse

SYSTEM, HI, HELLO, AGAIN = (
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello"),
    Message("user", "Again"),
)
TALK = (SYSTEM, HI, HELLO, AGAIN)
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the weather is <now>",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "A city", "minLength": 1, "pattern": "^[A-Z]"},
                "days": {"type": ["integer", "null"], "default": 1, "maximum": 7},
                "unit": {"anyOf": [{"type": "string"}, {"type": "array"}], "enum": ["C", "F"]},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CALL = Message("assistant", "", tool_calls=(ToolCall(0, "c1", "weather", '{"city":"Bern","a":1}'),))
RESULT = Message("tool", "sunny", tool_call_id="c1", tool_name="weather")

CHATML = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
CHATML_ROUNDS = """{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""
LLAMA2 = "[INST] {{ if .System }}<<SYS>>{{ .System }}<</SYS>>\n\n{{ end }}{{ .Prompt }} [/INST] {{ .Response }}</s>"
LLAMA3 = (
    "{{ if .System }}<|h|>system<|/h|>\n\n{{ .System }}<|e|>{{ end }}{{ range .Messages }}"
    '{{- if ne .Role "system" }}<|h|>{{ .Role }}<|/h|>\n\n{{ .Content }}<|e|>{{ end }}{{ end }}'
    "<|h|>assistant<|/h|>\n\n"
)
GEMMA = """{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<t>user
{{ .Content }}</t>
{{ if $last }}<t>model
{{ end }}
{{- else if eq .Role "assistant" }}<t>model
{{ .Content }}{{ if not $last }}</t>
{{ end }}
{{- end }}
{{- end }}"""
ALPACA = """{{- $s := "" }}{{ range .Messages }}
{{- if eq .Role "system" }}{{ if $s }}{{ $s = printf "%s\\n\\n%s" $s .Content }}{{ else }}{{ $s = .Content }}{{ end }}
{{- else if eq .Role "user" }}{{ with $s }}{{ . }}

{{ $s = "" }}{{ end }}### Instruction:
{{ .Content }}

{{ else }}### Response:
{{ .Content }}

{{ end }}{{ end }}### Response:
"""
ZEPHYR = (
    '{{ define "turn" }}<|{{ .Role }}|>\n{{ .Content }}</s>\n{{ end }}'
    '{{ range .Messages }}{{ template "turn" . }}{{ end }}<|assistant|>\n'
)
MISTRAL = """{{- range $i, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and $.Tools (le (len (slice $.Messages $i)) 2) }}[AVAILABLE_TOOLS] {{ $.Tools }}[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and (eq (len (slice $.Messages $i)) 1) $.System }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}"""
QWEN = """{{- if or .System .Tools }}<|im_start|>system
{{ .System }}{{ if .Tools }}
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>{{ end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}{{ if and $.IsThinkSet (eq $i 1) }}{{ if $.Think }} /think{{ else }} /no_think{{ end }}{{ end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Thinking }}<think>{{ .Thinking }}</think>
{{ end }}{{ if .Content }}{{ .Content }}{{ else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>{{ end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (
            CHATML,
            (
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
                "<|im_start|>user\nAgain<|im_end|>\n<|im_start|>assistant\n"
            ),
        ),
        (
            CHATML_ROUNDS,
            (
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
                "<|im_start|>user\nAgain<|im_end|>\n<|im_start|>assistant\n"
            ),
        ),
        (LLAMA2, "[INST] <<SYS>>Be brief.<</SYS>>\n\nHi [/INST] Hello</s>[INST] Again [/INST] "),
        (
            LLAMA3,
            (
                "<|h|>system<|/h|>\n\nBe brief.<|e|><|h|>user<|/h|>\n\nHi<|e|><|h|>assistant<|/h|>\n\nHello<|e|>"
                "<|h|>user<|/h|>\n\nAgain<|e|><|h|>assistant<|/h|>\n\n"
            ),
        ),
        (
            GEMMA,
            "<t>user\nBe brief.</t>\n<t>user\nHi</t>\n<t>model\nHello</t>\n<t>user\nAgain</t>\n<t>model\n",
        ),
        (
            ALPACA,
            "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello\n\n### Instruction:\nAgain\n\n### Response:\n",
        ),
        (
            ZEPHYR,
            "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nAgain</s>\n<|assistant|>\n",
        ),
        (MISTRAL, "[INST] Hi[/INST] Hello</s>[INST] Be brief.\n\nAgain[/INST]"),
    ],
)
def test_a_conversation_is_written_in_each_shape(template: str, prompt: str) -> None:
    assert parse(template).render(TALK) == prompt


def test_tools_their_calls_and_their_results_are_written() -> None:
    prompt = parse(MISTRAL).render((HI, CALL, RESULT, AGAIN), (WEATHER,))
    before, _, after = prompt.partition("[AVAILABLE_TOOLS] ")
    assert before == (
        '[INST] Hi[/INST][TOOL_CALLS] [{"name": "weather", "arguments": {"city":"Bern","a":1}}]</s>'
        '[TOOL_RESULTS] {"content": sunny}[/TOOL_RESULTS]'
    )
    tools, _, after = after.partition("[/AVAILABLE_TOOLS]")
    assert json.loads(tools) == [WEATHER]
    assert after == "[INST] Again[/INST]"


def test_every_word_of_a_tools_schema_is_kept() -> None:
    prompt = parse(QWEN).render((HI,), (WEATHER,))
    for said in (
        '"minLength":1,"pattern":"^[A-Z]"',
        '"default":1,"maximum":7',
        '"additionalProperties":false',
        '"strict":true',
        '"<now>"'[1:-1],
        '"type":["integer","null"]',
    ):
        assert said in prompt
    assert parse("{{ .Tools }}{{ .Messages }}").render((), (WEATHER,)).startswith('[{"type":"function"')


def test_a_tool_may_be_written_field_by_field() -> None:
    template = parse(
        "{{ range .Messages }}{{ end }}{{ range .Tools }}{{ .Function.Name }}({{ range $name, $p := .Function.Parameters.Properties }}"
        "{{ $name }}: {{ toTypeScriptType $p }} {{ $p.Type }} {{ $p.Enum }}{{ $p.Description }}, {{ end }}) "
        "{{ .Function.Parameters.Required }}{{ .Function.Parameters.Type }}{{ end }}"
    )
    assert template.render((HI,), (WEATHER,)) == (
        "weather(city: string string []A city, days: number | null [integer null] [], "
        "unit: string | any[]  [C F], ) [city]object"
    )
    bare = {"type": "function", "function": {"name": "f"}}
    assert template.render((HI,), (bare,)) == "f() []"


def test_thoughts_and_whether_to_think_are_told() -> None:
    template = parse(QWEN)
    talk = (HI, Message("assistant", "4", thinking="2+2"), AGAIN)
    assert "<think>2+2</think>\n4<|im_end|>" in template.render(talk)
    question = (SYSTEM, HI)
    assert "/think" not in template.render(question)
    assert "Hi /think<" in template.render(question, think=True)
    assert "Hi /no_think<" in template.render(question, think=False)
    level = parse("{{ range .Messages }}{{ end }}{{ .ThinkLevel }}|{{ .Think }}")
    assert level.render(question, think="high") == "high|true"
    assert level.render(question, think=True) == "|true"


def test_an_answer_that_is_begun_goes_on() -> None:
    begun = (HI, Message("assistant", "He"))
    assert parse(QWEN).render(begun).endswith("<|im_start|>assistant\nHe")
    assert parse(GEMMA).render(begun).endswith("<t>model\nHe")
    assert parse(CHATML_ROUNDS).render(begun).endswith("<|im_start|>assistant\nHe")


def test_neighbours_of_one_role_are_joined_but_not_tools_nor_calls() -> None:
    template = parse(
        "{{ range .Messages }}[{{ .Role }}:{{ .Content }}{{ len .ToolCalls }}]{{ end }}{{ .System }}"
    )
    assert (
        template.render((HI, AGAIN, SYSTEM, SYSTEM))
        == "[user:Hi\n\nAgain0][system:Be brief.\n\nBe brief.0]Be brief.\n\nBe brief."
    )
    assert (
        template.render((RESULT, RESULT, CALL, CALL, HELLO))
        == "[tool:sunny0][tool:sunny0][assistant:1][assistant:1][assistant:Hello0]"
    )


def test_arguments_that_are_no_object_are_written_as_they_are() -> None:
    template = parse(
        "{{ range .Messages }}{{ range .ToolCalls }}{{ .ID }}{{ .Function.Arguments }}{{ . }}{{ end }}{{ end }}"
    )
    call = Message("assistant", "", tool_calls=(ToolCall(0, "c", "f", "[1"),))
    assert template.render((call,)) == 'c[1{"function":{"name":"f","arguments":"[1"}}'


def test_a_misspelt_field_of_a_message_is_refused_with_its_line() -> None:
    with pytest.raises(BadInput, match=r"line 2: there is no field \.Contnet here"):
        parse("{{ range .Messages }}\n{{ .Contnet }}{{ end }}").render((HI,))


@pytest.mark.parametrize(
    ("template", "tools", "suffix", "thinking", "marker", "tags"),
    [
        (CHATML, False, False, False, "{", ("", "")),
        (MISTRAL, True, False, False, "[TOOL_CALLS] [", ("", "")),
        (QWEN, True, False, True, "<tool_call>", ("<think>", "</think>")),
        ("<P>{{ .Prompt }}<S>{{ .Suffix }}<M>", False, True, False, "{", ("", "")),
        ("{{ .Tools }}{{ range .Messages }}{{ if .ToolCalls }} {{ .ToolCalls }}{{ end }}{{ end }}", True, False, False, "{", ("", "")),
        ("{{ range .Messages }}{{ if .ToolCalls }}\n{{ range .ToolCalls }}<f>{{ end }}{{ end }}{{ end }}", False, False, False, "<f>", ("", "")),
        ("<t>{{ .Thinking }}</t>", False, False, False, "{", ("", "")),
        ("{{ range .Messages }}{{ .Thinking }}{{ end }}", False, False, False, "{", ("", "")),
    ],
)  # fmt: skip
def test_what_a_template_can_do_is_seen_in_it(
    template: str, *, tools: bool, suffix: bool, thinking: bool, marker: str, tags: tuple[str, str]
) -> None:
    parsed = parse(template)
    assert (parsed.has_tools, parsed.has_suffix, parsed.has_thinking) == (tools, suffix, thinking)
    assert (parsed.tool_marker, parsed.thinking_tags) == (marker, tags)


def test_the_middle_is_asked_for_between_two_texts() -> None:
    template = parse("{{ if .Suffix }}<P>{{ .Prompt }}<S>{{ .Suffix }}<M>{{ else }}{{ .Prompt }}{{ end }}")
    assert template.fill("def f():", "return x") == "<P>def f():<S>return x<M>"
    assert template.render((HI,)) == "Hi"
