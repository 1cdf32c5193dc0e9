"""Chat templates that are rendered without the engine."""

import pytest

from hutch.core.chat import Message, ToolCall
from hutch.core.errors import BadInput
from hutch.prompt.jinja import plain

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>You are kind.</s>\n' }}"
    "{% endif %}{{'<' + message['role'] + '>\n' + message['content'] | trim + '</>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>\n' }}{% endif %}"
)
HELLO = (Message("user", " hi "),)


def test_a_plain_template_is_rendered() -> None:
    template = plain(CHATML)
    assert template is not None
    assert template.can_render(HELLO)
    assert template.render(HELLO) == "<s>You are kind.</s>\n<user>\nhi</>\n<assistant>\n"
    talk = (Message("system", "S"), Message("user", "{{ 1 }}"))
    assert template.render(talk) == "<system>\nS</>\n<user>\n{{ 1 }}</>\n<assistant>\n"


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages[1:] %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.role ~ m.content }}{% if not loop.last %}\n{% endif %}{% endfor %}",
        "{{ messages[(messages | length) - 1].content }}",
        "{% if messages[0].role == 'system' %}{{ messages[0].content | upper }}{% else %}-{% endif %}",
    ],
)
def test_these_are_plain(source: str) -> None:
    assert plain(source) is not None


@pytest.mark.parametrize(
    "source",
    [
        "",
        "{% for m in messages %}",
        "x" * 10_000,
        "{{ bos_token }}",
        "{% for m in messages %}{{ bos_token }}{% endfor %}",
        "{{ raise_exception('no') }}",
        "{{ messages | tojson }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a' | center(1000000000) }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{% for m in messages %}{% for n in messages %}x{% endfor %}{% endfor %}",
        "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{% for m in [1, 2] %}x{% endfor %}",
        "{% for k, v in messages %}x{% endfor %}",
        "{% set x = 'a' %}{% set x = x + x %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x='') %}",
        "{{ messages.__class__ }}",
        "{{ messages[0].content.format }}",
        "{% include 'x' %}",
        "{% if tools %}x{% endif %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ 1" + " + 1" * 2000 + " }}",
    ],
)
def test_these_are_the_engines(source: str) -> None:
    assert plain(source) is None


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (Message("user", "a"), Message("assistant", "begun")),
        (Message("assistant", "", tool_calls=(ToolCall(0, "1", "f", "{}"),)), Message("user", "a")),
        (Message("tool", "x", tool_name="f"),),
        (Message("assistant", "x", thinking="y"), Message("user", "a")),
        (Message("user", "a" * (16 << 20)),),
    ],
)
def test_what_a_plain_template_cannot_say_is_the_engines(messages: tuple[Message, ...]) -> None:
    template = plain(CHATML)
    assert template is not None
    assert not template.can_render(messages)


def test_a_prompt_that_grows_with_every_message_ends() -> None:
    template = plain("{% for m in messages %}{{ messages[0].content }}{% endfor %}")
    assert template is not None
    messages = [Message("user", "a" * 100_000), *HELLO * 1000]
    assert template.can_render(messages)
    with pytest.raises(BadInput, match="makes a prompt of more than"):
        template.render(messages)


def test_a_template_that_fails_says_so() -> None:
    template = plain("{{ messages[0].content + 1 }}")
    assert template is not None
    with pytest.raises(BadInput, match="cannot render these messages"):
        template.render(HELLO)
