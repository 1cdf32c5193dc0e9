"""The TEMPLATE language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.chat import Message
from hutch.core.errors import BadInput
from hutch.prompt.template import MAX_TEMPLATE_CHARS, parse

CHAT = (
    "{{ if .System }}<s>{{ .System }}</s>{{ end }}{{ if .Prompt }}<u>{{ .Prompt }}</u>{{ end }}"
    "<a>{{ .Response }}</a>"
)
ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def talk(*turns: str) -> list[Message]:
    """Messages written as `u:hello`."""
    return [Message(ROLES[turn[0]], turn[2:]) for turn in turns]


@pytest.mark.parametrize(
    ("turns", "prompt"),
    [
        ((), "<a>"),
        (("u:hi",), "<u>hi</u><a>"),
        (("s:S", "u:hi"), "<s>S</s><u>hi</u><a>"),
        (("s:S",), "<s>S</s><a>"),
        (("u:1", "a:2", "u:3"), "<u>1</u><a>2</a><u>3</u><a>"),
        (("u:1", "a:2"), "<u>1</u><a>2"),
        (("a:2",), "<a>2"),
        (("a:2", "u:3"), "<a>2</a><u>3</u><a>"),
        (("u:1", "u:2"), "<u>1\n\n2</u><a>"),
        (("s:1", "s:2", "u:3"), "<s>1\n\n2</s><u>3</u><a>"),
        (("u:1", "a:2", "a:3", "u:4"), "<u>1</u><a>2\n\n3</a><u>4</u><a>"),
        (("u:1", "s:2", "u:3"), "<u>1</u><a></a><s>2</s><u>3</u><a>"),
        (("u:1", "t:2"), "<u>1\n\n2</u><a>"),
        (("u:1", "a:", "u:2"), "<u>1\n\n2</u><a>"),
        (("u:{{ .System }}",), "<u>{{ .System }}</u><a>"),
    ],
)
def test_a_conversation_is_written_in_rounds(turns: tuple[str, ...], prompt: str) -> None:
    assert parse(CHAT).render(talk(*turns)) == prompt


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("", ""),
        ("text", "text"),
        ("{{ .Prompt }}", "P"),
        ("{{.Prompt}}", "P"),
        ("{{   .Prompt\n}}", "P"),
        ("{{ if .System }}S{{ else }}none{{ end }}", "S"),
        ("{{ if .Response }}R{{ else }}none{{ end }}", "R"),
        ("{{ if .System }}{{ if .Prompt }}both{{ end }}{{ end }}", "both"),
        ("{{/* a comment */}}x{{- /* another */ -}} y", "xy"),
        ("{{ .Prompt }}{{ .Prompt }}", "PP"),
        ("a } b { c }} d", "a } b { c }} d"),
        ("{ {", "{ {"),
        ("{{ .Prompt }}|{{ .Response }}|{{ .Prompt }}", "P|"),
        ("{{ if .Prompt }}[{{ .Prompt }}|{{ .Response }}|]{{ end }}!", "[P|"),
        ("{{ if .Response }}<a>{{ .Response }}</a>{{ end }}!", "<a>"),
        ("{{ if .System }}{{ .System }}{{ else }}{{ .Response }}{{ end }}~{{ .Response }}!", "S~"),
    ],
)
def test_templates_are_rendered(template: str, prompt: str) -> None:
    assert parse(template).render(talk("s:S", "u:P")) == prompt


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("a \n {{- .Prompt }} b", "aP b"),
        ("a {{ .Prompt -}} \n\t b", "a Pb"),
        ("a {{- .Prompt -}} b", "aPb"),
        ("a {{-\n.Prompt\n-}} b", "aPb"),
        ("a {{- if .Prompt -}} b {{- end -}} c", "abc"),
        ("a {{ if .Prompt }} b {{ end }} c", "a  b  c"),
        ("{{ .Prompt -}} {{- .Prompt }}", "PP"),
    ],
)
def test_dashes_trim_the_text_beside_them(template: str, prompt: str) -> None:
    assert parse(template).render(talk("u:P")) == prompt


def test_a_template_without_a_response_gets_one_at_its_end() -> None:
    assert parse("[{{ .Prompt }}]").render(talk("u:1", "a:2", "u:3")) == "[1]2[3]"
    assert parse("{{ if .System }}{{ .Response }}{{ end }}").render(talk("u:1")) == ""


@pytest.mark.parametrize(
    ("template", "line", "what"),
    [
        ("{{ .Messages }}", 1, "{{ .Messages }} is not supported"),
        ("a\n\n{{ .Tools }}", 3, "{{ .Tools }} is not supported"),
        ("a\n{{ .Prompt }}\n{{ range .Messages }}{{ end }}", 3, "{{ range .Messages }} is not supported"),
        ("{{ Prompt }}", 1, "not supported"),
        ("{{ ..Prompt }}", 1, "not supported"),
        ("{{ .prompt }}", 1, "not supported"),
        ("{{ .Prompt.Text }}", 1, "not supported"),
        ("{{ .Prompt | len }}", 1, "not supported"),
        ("{{ $x := .Prompt }}", 1, "not supported"),
        ("{{}}", 1, "not supported"),
        ("{{-}}", 1, "not supported"),
        ("{{-.Prompt}}", 1, "not supported"),
        ("{{ if eq .System .Prompt }}{{ end }}", 1, "{{ eq .System .Prompt }} is not supported"),
        ("{{ else if .Prompt }}", 1, "not supported"),
        ("\n{{ if .Prompt }}\nx", 2, "an if without its end"),
        ("{{ if .Prompt }}a{{ else }}b", 1, "an if without its end"),
        ("{{ if .Prompt }}a{{ else }}b{{ else }}c{{ end }}", 1, "an if without its end"),
        ("a\n{{ end }}", 2, "unexpected {{end}}"),
        ("{{ else }}", 1, "unexpected {{else}}"),
        ("a\nb {{ .Prompt", 2, "unclosed action"),
        ("{{ .Prompt\n}}\n{{", 3, "unclosed action"),
        ("{{ if .Prompt }}" * 40 + "{{ end }}" * 40, 1, "too deeply nested"),
        ("{{ " + "x" * 5000 + " }}", 1, "not supported"),
    ],
)
def test_what_the_language_lacks_is_refused_with_its_line(template: str, line: int, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(template)
    assert caught.value.message.startswith(f"template error: line {line}: ")
    assert what in caught.value.message
    assert len(caught.value.message) < 200
    assert "TEMPLATE" in caught.value.hint


def test_ifs_may_be_nested_to_a_depth() -> None:
    text = "{{ if .Prompt }}" * 32 + "deep" + "{{ end }}" * 32
    assert parse(text).render(talk("u:P")) == "deep"


def test_a_template_has_a_greatest_length() -> None:
    assert parse("x" * MAX_TEMPLATE_CHARS).render(()) == "x" * MAX_TEMPLATE_CHARS
    with pytest.raises(BadInput, match="longer than"):
        parse("x" * (MAX_TEMPLATE_CHARS + 1))


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "piece",
    [
        "{{",
        "{{ ",
        "{{ if .Prompt }}",
        "{{ -",
        "{{-",
        "{",
        "}",
        "{{}}",
        "{{/**/}}",
        "{{/**/}}\n",
        "{{ .Prompt }}",
    ],
)
def test_no_template_takes_long(piece: str) -> None:
    try:
        parse((piece * MAX_TEMPLATE_CHARS)[:MAX_TEMPLATE_CHARS])
    except BadInput:
        return


@pytest.mark.timeout(5)
def test_spaces_without_an_end_do_not_take_long() -> None:
    with pytest.raises(BadInput, match="unclosed action"):
        parse("{{" + " " * (MAX_TEMPLATE_CHARS - 2))


def test_a_role_that_no_template_knows_is_refused() -> None:
    with pytest.raises(BadInput, match="role 'narrator'"):
        parse(CHAT).render([Message("narrator", "x")])


PIECES = (
    "{{",
    "}}",
    "{{ ",
    " }}",
    "-",
    " ",
    "\n",
    "if ",
    ".Prompt",
    ".System",
    ".Response",
    "else",
    "end",
    "/*",
    "*/",
    "x",
)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(sorted(ROLES.values())), st.text(max_size=5)), max_size=5
)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(), MESSAGES)
def test_any_text_is_a_template_or_refused(text: str, messages: list[Message]) -> None:
    try:
        template = parse(text)
    except BadInput:
        return
    assert isinstance(template.render(messages), str)


@given(MESSAGES)
def test_nothing_that_was_said_is_lost(messages: list[Message]) -> None:
    prompt = parse(CHAT).render(messages)
    at = 0
    for message in messages:
        at = prompt.index(message.content, at)
