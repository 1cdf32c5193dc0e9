"""Go's text/template: what its actions and functions make of data."""

from typing import Any

import pytest

from hutch.core.errors import BadInput
from hutch.prompt.gotemplate.evaluate import Budget, evaluate
from hutch.prompt.gotemplate.parser import parse
from hutch.prompt.gotemplate.values import Record

DATA: dict[str, Any] = {
    "S": "text",
    "Empty": "",
    "N": 7,
    "F": 1.5,
    "T": True,
    "L": ["a", "b", "c"],
    "None": [],
    "Nil": None,
    "M": {"b": 2, "a": 1},
    "R": Record({"Name": "n", "Inner": Record({"X": 1})}, {"name": "n", "more": [1, {"é": "<&>"}]}),
    "U": "añb",
}


def run(text: str, steps: int = 10_000, chars: int = 10_000) -> str:
    """What the template makes of DATA."""
    return evaluate(parse(text), DATA, Budget(steps, chars))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ .S }} {{ .N }} {{ .F }} {{ .T }} [{{ .Nil }}] {{ .L }}", "text 7 1.5 true [] [a b c]"),
        ("{{ .M }} {{ .R }}", '{"b":2,"a":1} {"name":"n","more":[1,{"é":"<&>"}]}'),
        ("{{ .M.a }} {{ .M.zz }} {{ .R.Inner.X }} {{ .Nil.x.y }}", "1  1 "),
        ("{{ 0x10 }} {{ 1_000 }} {{ -3 }} {{ 017 }} {{ 2.50 }} {{ 1e3 }} {{ 'a' }} {{ .5 }}", "16 1000 -3 15 2.5 1000 97 0.5"),
        (r'{{ "a\"\t\u00e9\x41\101" }}{{ `raw\n` }}', 'a"\té' + "AA" + r"raw\n"),
        ("{{ $x := 1 }}{{ $x }}{{ $x = 2 }}{{ $x }}{{ if .T }}{{ $x = 3 }}{{ $x := 4 }}{{ $x }}{{ end }}{{ $x }}", "1243"),
        ("{{ with $y := .S }}{{ . }}{{ $y }}{{ $.N }}{{ end }}", "texttext7"),
        ("{{ with .Empty }}x{{ else with .S }}{{ . }}{{ else }}y{{ end }}", "text"),
        ("{{ if .Empty }}1{{ else if .None }}2{{ else if .N }}3{{ else }}4{{ end }}", "3"),
        ("{{ range .L }}{{ . }},{{ end }}{{ range .None }}x{{ else }}none{{ end }}", "a,b,c,none"),
        ("{{ range $i, $e := .L }}{{ $i }}{{ $e }}{{ . }} {{ end }}", "0aa 1bb 2cc "),
        ("{{ range $e := .L }}{{ $e }}{{ end }}{{ range .Nil }}x{{ end }}", "abc"),
        ("{{ range $k, $v := .M }}{{ $k }}={{ $v }};{{ end }}", "a=1;b=2;"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ $i := 0 }}{{ $e := 0 }}{{ range $i, $e = .L }}{{ end }}{{ $i }}{{ $e }}", "2c"),
        ("{{ range .L }}{{ if eq . `b` }}{{ continue }}{{ end }}{{ . }}{{ end }}", "ac"),
        ("{{ range .L }}{{ if eq . `b` }}{{ break }}{{ end }}{{ . }}{{ else }}x{{ end }}!", "a!"),
        ("{{ range .L }}{{ range $.L }}{{ break }}{{ end }}{{ . }}{{ end }}", "abc"),
        ('{{ define "t" }}<{{ . }}>{{ end }}{{ template "t" .M.a }}{{ template "t" }}', "<1><>"),
        ('{{ block "b" .S }}[{{ . }}]{{ end }}{{ template "b" 1 }}', "[text][1]"),
        ('{{ .N | printf "%s-%d" .S }}', "text-7"),
        ("{{ (index .L 1) }}{{ (.R).Name }}{{ ( .R.Inner ).X }}", "bn1"),
        ("{{/* a }} comment */}}a {{- /* b */ -}} b", "ab"),
        ("{{ not .T }}{{ and .T .N }}{{ and .Empty (index .L 99) }}{{ or .Empty .S }}{{ or .S (index .L 99) }}", "false7texttext"),
        ("{{ .N | and .T }}{{ .Empty | or .None }}", "7"),
        ("{{ eq .S `x` `text` }}{{ ne .N 7 }}{{ lt 1 2 }}{{ le 2 2 }}{{ gt `b` `a` }}{{ ge 1 2 }}", "truefalsetruetruetruefalse"),
        ("{{ eq 1 1.0 }}{{ eq .Nil nil }}{{ eq .Nil `x` }}{{ ne .Nil 0 }}", "truetruefalsetrue"),
        ("{{ len .L }}{{ len .M }}{{ len .U }}{{ len .Empty }}", "3240"),
        ("{{ index .L 2 }}{{ index .M `a` }}{{ index .M `zz` }}{{ index .S 0 }}{{ index .M }}", 'c1116{"b":2,"a":1}'),
        ("{{ slice .S 1 3 }}{{ slice .S 2 }}{{ slice .S }}{{ slice .L 1 }}{{ slice .L 0 1 2 }}{{ slice .U 0 2 }}", "exxttext[b c][a]a\ufffd"),
        ("{{ print 1 2 .S 3 4 }}|{{ println .S 1 }}", "1 2text3 4|text 1\n"),
        ("{{ printf `%s|%5s|%-5s|%.2s|%q|%v|%%|%t` .S `a` `b` .S .S .Nil .T }}", 'text|    a|b    |te|"text"|<nil>|%|true'),
        ("{{ printf `%d|%03d|%+d|%x|%X|%c|%U|%o|%b` 7 7 7 255 255 65 65 8 5 }}", "7|007|+7|ff|FF|A|U+0041|10|101"),
        ("{{ printf `%.2f|%g|%e|%v` 1.5 1.5 1500.0 1e21 }}", "1.50|1.5|1.500000e+03|1e+21"),
        ("{{ printf `%d|%s` .S }}", "%!d(string=text)|%!s(MISSING)"),
        ("{{ printf `x` 1 `a` }} {{ printf `%T%T%T%T` 1 1.5 nil .L }}", "x%!(EXTRA int=1, string=a) intfloat64<nil>[]interface {}"),
        ("{{ html `<a href='x'>\"` }} {{ js `'\"<` }} {{ urlquery `a b&` }}", "&lt;a href=&#39;x&#39;&gt;&#34; \\'\\\"\\u003C a+b%26"),
        ("{{ json .L }}{{ json .R }}{{ json .S }}{{ .M | json }}", '["a","b","c"]{"name":"n","more":[1,{"é":"<&>"}]}"text"{"b":2,"a":1}'),
        ("{{ toTypeScriptType .S }}{{ 1e20 }} {{ 100000000000.5 }} {{ 0.00001 }}", "any100000000000000000000 100000000000.5 1e-05"),
        ("{{ len currentDate }}{{ len (yesterdayDate `2006`) }}", "1010"),
        ("{{ if .R }}r{{ end }}{{ if .M }}m{{ end }}{{ if 0 }}0{{ end }}{{ if 0.0 }}0{{ end }}", "rm"),
    ],
)  # fmt: skip
def test_templates_are_evaluated(template: str, text: str) -> None:
    assert run(template) == text


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("\n{{ .S.x }}", "line 2: .x is looked up in something that has no fields"),
        ("{{ .R.Nmae }}", "there is no field .Nmae here"),
        ("{{ range .S }}{{ end }}", "range goes over lists"),
        ("{{ range .R }}{{ end }}", "range goes over lists"),
        ("{{ .S 1 }}", "arguments are given to something that is no function"),
        ("{{ 1 | .S }}", "arguments are given to something that is no function"),
        ("{{ index .L 3 }}", "index: index out of range: 3"),
        ("{{ index .L -1 }}", "out of range"),
        ("{{ index .L `a` }}", "a string is no index"),
        ("{{ index .L true }}", "a boolean is no index"),
        ("{{ index .M 1 }}", "a map has no index 1"),
        ("{{ index .N 1 }}", "a number cannot be indexed"),
        ("{{ slice .M 1 }}", "cannot be sliced"),
        ("{{ slice .L 2 1 }}", "invalid slice indexes"),
        ("{{ slice .S 1 2 3 }}", "too many indexes"),
        ("{{ len .N }}", "a number has no length"),
        ("{{ len }}", "len: it is given the wrong number of values"),
        ("{{ len .S .S }}", "wrong number"),
        ("{{ eq .S }}", "eq needs two values"),
        ("{{ eq .S 1 }}", "a string and a number cannot be compared"),
        ("{{ eq .T 1 }}", "a boolean and a number cannot be compared"),
        ("{{ eq .L .L }}", "cannot be compared"),
        ("{{ lt .T .T }}", "have no order"),
        ("{{ and }}", "and: it is given the wrong number of values"),
        ("{{ printf 1 }}", "printf needs a format"),
        ("{{ printf `%9999d` 1 }}", "a width in a format is at most"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_line(template: str, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        run(template)
    assert what in caught.value.message
    assert caught.value.message.startswith("template error: line ")


BIG = {"P": "x" * (1 << 20)}


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{{ range 999999999999 }}{{ end }}", "takes too long"),
        ("{{ range 9999 }}{{ range 9999 }}x{{ end }}{{ end }}", "takes too long"),
        ('{{ define "t" }}{{ template "t" }}{{ end }}{{ template "t" }}', "too deeply nested"),
        ('{{ define "t" }}{{ range 9 }}{{ template "t" }}{{ end }}{{ end }}{{ template "t" }}', "too deeply nested"),
        ("{{ range 999999 }}{{ $.P }}{{ end }}", "makes too much text"),
        ("{{ range 999999 }}{{ len $.P }}{{ end }}", "takes too long"),
        ("{{ range 999999 }}{{ $x := slice $.P 0 1 }}{{ end }}", "takes too long"),
        ("{{ $x := .P }}{{ range 64 }}{{ $x = print $x $x }}{{ end }}", "makes too much text"),
        ("{{ range 999999 }}{{ $x := html $.P }}{{ end }}", "makes too much text"),
        ("{{ range 999999 }}{{ $x := printf `%1000d` 1 }}{{ end }}", "makes too much text"),
    ],
)  # fmt: skip
def test_nothing_takes_long_or_grows_large(template: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        evaluate(parse(template), BIG, Budget(200_000, 16 << 20))


def test_blocks_and_parentheses_may_be_nested_to_a_depth() -> None:
    assert run("{{ if .T }}" * 40 + "deep" + "{{ end }}" * 40) == "deep"
    assert run("{{ " + "(" * 40 + ".S" + ")" * 40 + " }}") == "text"


def test_it_stops_after_the_field_that_it_is_told() -> None:
    tree = parse("{{ if .S }}{{ range .L }}{{ .S }}{{ end }}{{ .S }}|{{ end }}|")
    data = {"S": "s", "L": [{"S": "never"}]}
    assert evaluate(tree, data, Budget(100, 100), stop_after="S") == "never"
    assert evaluate(tree, {"S": "s", "L": []}, Budget(100, 100), stop_after="S") == "s"
