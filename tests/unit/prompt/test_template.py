"""The TEMPLATE language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.chat import Image, Message
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
        ("{{ .prompt }}{{ .Else.Where }}{{ if .Nothing }}x{{ end }}", ""),
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
        ("{{ Prompt }}", 1, 'function "Prompt" is not defined'),
        ("a\n\n{{ ..Prompt }}", 3, "unexpected ."),
        ("{{ $x }}", 1, "undefined variable $x"),
        ("{{ if .A }}{{ $x := 1 }}{{ end }}\n{{ $x }}", 2, "undefined variable $x"),
        ("{{ $x = 1 }}", 1, "undefined variable $x"),
        ("{{}}", 1, "missing value for command"),
        ("{{ if }}{{ end }}", 1, "missing value for if"),
        ("{{ .A | }}", 1, "missing value for command"),
        ("{{ (.A }}", 1, "unclosed left parenthesis"),
        ("{{ .A) }}", 1, "unexpected ')'"),
        ("{{ .A .B, }}", 1, "unexpected ','"),
        ('{{ "a""b" }}', 1, "unexpected"),
        ('{{ "a }}', 1, "unterminated quoted text"),
        ("{{ `a }}", 1, "unterminated quoted text"),
        ('{{ "\\q" }}', 1, "unknown escape"),
        ('{{ "\\ud800" }}', 1, "unknown escape"),
        ("{{ 0x }}", 1, "unexpected 'x'"),
        ("{{ 99999999999999999999 }}", 1, "bad number"),
        ("{{ 1e999 }}", 1, "bad number"),
        ("{{-}}", 1, "unexpected '-'"),
        ("{{-.Prompt}}", 1, "unexpected '-'"),
        ("{{ else if .Prompt }}", 1, "unexpected {{else}}"),
        ("\n{{ if .Prompt }}\nx", 2, "if without its end"),
        ("{{ range .Messages }}a{{ else }}b", 1, "range without its end"),
        ("{{ with .Prompt }}a{{ else }}b{{ else }}c{{ end }}", 1, "with without its end"),
        ("a\n{{ end }}", 2, "unexpected {{end}}"),
        ("{{ else }}", 1, "unexpected {{else}}"),
        ("a\nb {{ .Prompt", 2, "unclosed action"),
        ("{{ .Prompt\n}}\n{{", 3, "unclosed action"),
        ("\n{{/* x", 2, "unclosed comment"),
        ("{{/* x */ .Prompt }}", 1, "a comment ends before"),
        ("{{ if .Prompt }}" * 50 + "{{ end }}" * 50, 1, "too deeply nested"),
        ("{{ " + "(" * 50 + "1" + ")" * 50 + " }}", 1, "too deeply nested"),
        ("{{ " + "x" * 5000 + " }}", 1, "is not defined"),
        ('\n{{ template "x" }}', 2, 'template "x" is not defined'),
        ("{{ template x }}", 1, "unexpected 'x'"),
        ('{{ if .A }}{{ define "x" }}{{ end }}{{ end }}', 1, "define inside another block"),
        ('{{ define "x" }}{{ end }}\n{{ define "x" }}{{ end }}', 2, "is defined twice"),
        ("{{ break }}", 1, "{{break}} outside {{range}}"),
        ("{{ range .A }}{{ else }}{{ continue }}{{ end }}", 1, "{{continue}} outside {{range}}"),
        ('{{ "x".A }}', 1, "a constant has no field"),
        ("{{ .A | 3 }}", 1, "no command"),
    ],
)
def test_what_is_no_template_is_refused_with_its_line(template: str, line: int, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(template)
    assert caught.value.message.startswith(f"template error: line {line}: ")
    assert what in caught.value.message
    assert len(caught.value.message) < 220
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
    "range ",
    "with ",
    "define ",
    "template ",
    "$x",
    ":=",
    "=",
    '"n"',
    "(",
    ")",
    "|",
    "len ",
    "index ",
    "slice ",
    "printf ",
    "eq ",
    "and ",
    "json ",
    ".",
    "7",
    ".Messages",
    "break",
)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(sorted(ROLES.values())), st.text(max_size=5)), max_size=5
)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(), MESSAGES)
def test_any_text_is_a_template_or_refused(text: str, messages: list[Message]) -> None:
    try:
        assert isinstance(parse(text).render(messages), str)
    except BadInput as error:
        assert error.message.startswith("template error: ")  # noqa: PT017


@given(MESSAGES)
def test_nothing_that_was_said_is_lost(messages: list[Message]) -> None:
    prompt = parse(CHAT).render(messages)
    at = 0
    for message in messages:
        at = prompt.index(message.content, at)


def test_a_template_can_tell_how_many_images_a_message_has() -> None:
    seen = parse("{{ range .Messages }}{{ .Content }}:{{ len .Images }}{{ if .Images }}!{{ end }} {{ end }}")
    picture = Image("image/png", "")
    said = [Message("user", "a", images=(picture,)), Message("user", "b", images=(picture, picture))]
    assert seen.render([*said, Message("assistant", "c")]) == "a\n\nb:3! c:0 "
