"""Chat templates: rendered as Hugging Face does it, and held where they run wild."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from hutch.core.errors import BadInput, FormatError
from hutch.engines.onnx.template import ChatTemplate

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
USER = {"role": "user", "content": "Hi"}
CHATML = """{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


class Make(Protocol):
    """Makes a template that is closed at the end."""

    def __call__(self, source: str, within_s: float = 10.0) -> ChatTemplate: ...


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes templates."""
    with ExitStack() as stack:
        yield lambda source, within_s=10.0: stack.enter_context(
            closing(ChatTemplate(source, TOKENS, within_s=within_s))
        )


def rendered(template: ChatTemplate, messages: Sequence[dict[str, Any]] = (USER,), **options: Any) -> str:
    """What a template makes of messages."""
    return template.render(messages, options)


def test_a_conversation_becomes_a_prompt(make: Make) -> None:
    messages = [USER, {"role": "assistant", "content": "Héllo 😀"}, USER]
    assert rendered(make(CHATML), messages) == (
        "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHéllo 😀<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("source", "options", "text"),
    [
        ("{% if enable_thinking is false %}off{% else %}on{% endif %}", {"enable_thinking": False}, "off"),
        ("{{ tools | tojson }}", {"tools": [{"a": "<é>", "b": None}]}, '[{"a": "<é>", "b": null}]'),
        ("{{ {'a': 1} | tojson(indent=2) }}", {}, '{\n  "a": 1\n}'),
        ("{{ tools is defined }}", {}, "False"),
        ("{{ messages | map(attribute='role') | tojson }}", {}, '["user"]'),
        ("{% for i in range(9) %}{% if i > 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", {}, "012"),
        ("{% generation %}said{% endgeneration %}", {}, "said"),
        ("{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = m.content %}{% endfor %}{{ ns.x.strip() }}", {}, "Hi"),
        ("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(eos_token) }}", {}, "[</s>]"),
        ("{{ messages[0].nothing }}-{{ messages[-1]['role'] }}", {}, "-user"),
        ("{%- if true %}\n  a\n{%- endif %}\n  {% if true %}\nb{% endif %}", {}, "  ab"),
    ],
)  # fmt: skip
def test_it_knows_what_templates_use(make: Make, source: str, options: dict[str, Any], text: str) -> None:
    assert rendered(make(source), **options) == text


def test_a_template_knows_the_date(make: Make) -> None:
    assert rendered(make("{{ strftime_now('%Y') }}")) in {str(datetime.now(UTC).year + i) for i in (-1, 0, 1)}


def test_what_a_template_refuses_is_refused_in_its_words(make: Make) -> None:
    template = make("{% if messages|length > 1 %}{{ raise_exception('one at a time!') }}{% endif %}ok")
    with pytest.raises(BadInput, match="cannot render these messages: one at a time!"):
        rendered(template, [USER, USER])
    assert rendered(template) == "ok"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ ''['__class__'] }}",
        "{{ (''|attr('__class__')).__mro__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ self._TemplateReference__context }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
    ],
)
def test_no_template_gets_out_of_its_sandbox(make: Make, source: str) -> None:
    try:
        text = rendered(make(source))
    except (BadInput, FormatError):
        return
    assert text == ""  # what may not be seen is undefined


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ nope | nofilter }}", "{% for x in %}", "{{", "{% unknown %}"]
)
def test_a_template_that_cannot_be_read_is_refused_at_once(make: Make, source: str) -> None:
    with pytest.raises(FormatError, match="chat template"):
        make(source)


WILD = "{% if messages and messages[-1].content == 'go' %}%s{% endif %}ok"


@pytest.mark.parametrize(
    "action",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**10 }}",
        "{{ ('%0' ~ '999999999d') | format(messages | length) }}",
        "{% set ns = namespace(x='aaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ (8 + messages | length) ** (9 ** 9) }}",
    ],
)
def test_a_template_that_runs_wild_is_stopped_and_the_next_request_is_served(make: Make, action: str) -> None:
    template = make(WILD.replace("%s", action), within_s=1.5)
    started = time.monotonic()
    with pytest.raises(BadInput, match="chat template"):
        rendered(template, [{"role": "user", "content": "go"}])
    assert time.monotonic() - started < 8
    assert rendered(template) == "ok"


def test_a_process_that_was_ended_is_replaced(make: Make) -> None:
    template = make("ok")
    assert template._process is not None
    template._process.kill()
    template._process.wait()
    with pytest.raises(BadInput):
        rendered(template)
    assert rendered(template) == "ok"


CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "é"}'}}],
}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("{{ c.function.arguments | tojson }}", '{"a": "é"}'),
        ("{{ '' + c.function.arguments }}", '{"a": "é"}'),
        ("{{ c['function']['arguments'] ~ '' }}", '{"a": "é"}'),
        ("{{ c.function | tojson }}", '{"name": "f", "arguments": {"a": "é"}}'),
        ("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson }}{% endfor %}", 'a="é"'),
        ("{% for k, v in c.function.arguments | items %}<{{ k }}>{{ v }}{% endfor %}", "<a>é"),
    ],
)
def test_arguments_come_as_each_template_wants_them(make: Make, written: str, text: str) -> None:
    source = "{% for m in messages %}{% for c in m.tool_calls or [] %}" + written + "{% endfor %}{% endfor %}"
    assert rendered(make(source), [USER, CALL]) == text


def test_a_call_without_words_is_no_turn_of_its_own(make: Make) -> None:
    source = (
        "{% for m in messages %}{% if m['content'] is not none %}[{{ m['content'] }}]{% endif %}{% endfor %}"
    )
    assert rendered(make(source), [USER, CALL]) == "[Hi]"
    assert rendered(make("{% for m in messages %}{{ m.content + ';' }}{% endfor %}"), [USER, CALL]) == "Hi;;"


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}|{% endfor %}",
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}|{% endif %}{% endfor %}",
    ],
)
def test_where_a_template_has_no_system_the_user_says_it(make: Make, source: str) -> None:
    system = {"role": "system", "content": "Be brief."}
    assert rendered(make(source), [system, USER]) == "Be brief.\n\nHi|"
    assert rendered(make(source), [system]) == "Be brief.|"


def test_json_of_any_depth_is_an_error_and_no_crash(make: Make) -> None:
    deep = json.dumps("x")
    for _ in range(3000):
        deep = f"[{deep}]"
    call = {**CALL, "tool_calls": [{"function": {"name": "f", "arguments": deep}}]}
    source = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
    template = make(source)
    with suppress(BadInput):
        rendered(template, [call])
    assert rendered(template) == ""
