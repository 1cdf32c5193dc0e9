"""Modelfiles: the grammar, its messages, and the way back."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.errors import BadInput, FormatError
from hutch.formats.modelfile import Instruction, Modelfile, instructions, parse, render

_COMMANDS = (
    'command must be one of "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", '
    '"parameter", "message", or "requires"'
)


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("SYSTEM plain words", "plain words"),
        ("system in any case", "in any case"),
        ("SYSTEM \t  trimmed \t ", "trimmed"),
        ("  SYSTEM indented", "indented"),
        ('SYSTEM "quoted"', "quoted"),
        ('SYSTEM "  spaces kept  "', "  spaces kept  "),
        ('SYSTEM """triple"""', "triple"),
        ('SYSTEM """\ntwo\nlines\n"""', "\ntwo\nlines\n"),
        ('SYSTEM "two\nlines"', "two\nlines"),
        ('SYSTEM """says "hi" twice"""', 'says "hi" twice'),
        ('SYSTEM """a\n"b"\n"""  ', 'a\n"b"\n'),
        ('SYSTEM ""', ""),
        ('SYSTEM """"""', ""),
        ("SYSTEM 'single' quotes", "'single' quotes"),
        ('SYSTEM a "b" c', 'a "b" c'),
        ('SYSTEM "a"b"', 'a"b'),
        ("SYSTEM no # comment", "no # comment"),
        ('SYSTEM """\n# no comment\n"""', "\n# no comment\n"),
        ('SYSTEM """a\n\n  b"""', "a\n\n  b"),
        ("SYSTEM tab\tkept", "tab\tkept"),
        ("SYSTEM bell\x07 and \u200bnothing", "bell and nothing"),
        ("SYSTEM first\nSYSTEM last", "last"),
        ("SYSTEM dos\r\n", "dos"),
        ("SYSTEM naïve 漢字 🙂", "naïve 漢字 🙂"),
    ],
)
def test_reads_values(text: str, system: str) -> None:
    assert parse(f"FROM base\n{text}".encode()).system == system


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no FROM line"),
        ("# FROM base\n\n", "no FROM line"),
        ("SYSTEM hi", "no FROM line"),
        ("FROM base\nBAD value", f"(line 2): {_COMMANDS}"),
        ("FROM base\n\n# note\nFILES ./doc.pdf", f"(line 4): {_COMMANDS}"),
        ("FROM base\nFILE ./", "(line 2): FILE needs the path of a document"),
        ("FROM base\nFILE a/x.txt\nFILE b/x.txt", "(line 3): another document is named x.txt"),
        ('FROM base\nSYSTEM """a\nb"""\nBAD x', f"(line 4): {_COMMANDS}"),
        ("FROM base\nSYS-TEM x", f"(line 2): {_COMMANDS}"),
        ("FROM", f"(line 1): {_COMMANDS}"),
        (
            "FROM base\nMESSAGE User hi",
            '(line 2): message role must be one of "system", "user", or "assistant"',
        ),
        (
            "FROM base\nMESSAGE bad hi",
            '(line 2): message role must be one of "system", "user", or "assistant"',
        ),
        ("FROM base\nMESSAGE user", '(line 2): message role must be one of "system", "user", or "assistant"'),
        ("FROM base\nADAPTER a\nADAPTER b", "(line 3): only one adapter is currently supported"),
        ('FROM base\nSYSTEM "open', "unexpected EOF"),
        ('FROM base\nSYSTEM """open"', "unexpected EOF"),
        ('FROM base\nSYSTEM """"', "unexpected EOF"),
        ("FROM base\nPARAMETER num_ctx", "unexpected EOF"),
        ("FROM base\nPARAMETER num_ctx\nSYSTEM hi", "unexpected EOF"),
        ("FROM base\nPARAMETER numa true", "unknown parameter 'numa'"),
        ("FROM base\nPARAMETER context_length many", "invalid int value [many]"),
        ("FROM base\nPARAMETER num_ctx many", "invalid int value [many]"),
        ("FROM base\nPARAMETER temperature hot", "invalid float value [hot]"),
        ("FROM base\nPARAMETER use_mmap maybe", "invalid bool value [maybe]"),
    ],
)
def test_refuses_with_ollamas_words(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text.encode())
    assert caught.value.message == message


def test_a_documents_path_and_name_may_be_quoted() -> None:
    read = parse(b'FROM m\nFILE ./a.txt AS "x y.txt"\nFILE "./d.txt"')
    assert dict(read.documents) == {"x y.txt": "./a.txt", "d.txt": "./d.txt"}


def test_reads_every_instruction() -> None:
    said = parse(
        b"FROM base\nADAPTER ./lora.gguf\nDRAFT ./draft.gguf\nRENDERER first\nRENDERER qwen3-coder\nPARSER harmony\n"
        b"REQUIRES 0.14.0\nPARAMETER context_length 4096\nFILE ./docs/guide.txt\nfile C:\\x\\a b.pdf AS rules.pdf"
    )
    assert (said.adapter, said.draft) == ("./lora.gguf", "./draft.gguf")
    assert (said.renderer, said.parser, said.requires) == ("qwen3-coder", "harmony", "0.14.0")
    assert dict(said.parameters) == {"num_ctx": 4096}
    assert dict(said.documents) == {"guide.txt": "./docs/guide.txt", "rules.pdf": "C:\\x\\a b.pdf"}
    assert dict(said.lines) == {
        "adapter": 2,
        "draft": 3,
        "renderer": 5,
        "parser": 6,
        "requires": 7,
        "documents.guide.txt": 9,
        "documents.rules.pdf": 10,
    }


def test_types_parameters_by_their_names() -> None:
    said = parse(
        b"FROM a\nPARAMETER num_gpu 35\nPARAMETER temperature 1\nPARAMETER use_mmap false\nparameter seed -1"
    )
    assert dict(said.parameters) == {"num_gpu": 35, "temperature": 1.0, "use_mmap": False, "seed": -1}


def test_gathers_what_may_repeat() -> None:
    said = parse(
        b'PARAMETER stop "<end>"\nLICENSE one\nMESSAGE user hi\nFROM a\nFROM b\n'
        b'PARAMETER stop User:\nLICENSE two\nMESSAGE assistant """two\nlines"""\nTEMPLATE {{ .Prompt }}'
    )
    assert said.sources == ("a", "b")
    assert said.parameters["stop"] == ["<end>", "User:"]
    assert said.licenses == ("one", "two")
    assert said.messages == (
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "two\nlines"},
    )
    assert said.template == "{{ .Prompt }}"


def test_passes_over_deprecated_parameters_and_names_them() -> None:
    said = parse(b"FROM a\nPARAMETER mirostat 1\nPARAMETER low_vram true")
    assert (dict(said.parameters), said.deprecated) == ({}, ("mirostat", "low_vram"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_reads_what_editors_save(encoding: str) -> None:
    assert parse("FROM a\nSYSTEM öl 漢".encode(encoding)).system == "öl 漢"


def test_reads_both_byte_orders() -> None:
    assert parse(b"\xfe\xff" + "FROM a".encode("utf-16-be")).sources == ("a",)


def test_refuses_bytes_that_are_no_text() -> None:
    with pytest.raises(FormatError, match="not UTF-8"):
        parse(b"FROM a\nSYSTEM \xff\xfe\xff")


def test_tells_where_commands_stand() -> None:
    found = list(instructions('# one\nfrom a\n\nSYSTEM """\nx\n"""\nPARAMETER seed 1'))
    assert found == [
        Instruction(2, "from", "", "a"),
        Instruction(4, "system", "", "\nx\n"),
        Instruction(7, "parameter", "seed", "1"),
    ]


def test_writes_quotes_only_where_needed() -> None:
    said = Modelfile(
        ("base",),
        system="two\nlines",
        template=' "quoted"',
        parameters={"stop": ["a", " b"], "use_mmap": True},
        messages=({"role": "user", "content": "hi"},),
    )
    assert render(said) == (
        'FROM base\nTEMPLATE """ "quoted""""\nSYSTEM "two\nlines"\nPARAMETER stop a\nPARAMETER stop " b"\n'
        "PARAMETER use_mmap true\nMESSAGE user hi\n"
    )


_TEXTS = st.lists(
    st.sampled_from(['"""', '"', "\n", '"""\u034f', " ", "x"])
    | st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" \t\n\"'#"), max_size=8)
).map("".join)


@given(
    system=_TEXTS, license=_TEXTS, content=_TEXTS, stops=st.lists(_TEXTS.filter(bool), min_size=1, max_size=3)
)
def test_reads_back_what_it_writes(system: str, license: str, content: str, stops: list[str]) -> None:  # noqa: A002
    said: Any = Modelfile(
        ("base",),
        system=system,
        parameters={"stop": stops, "num_ctx": 8},
        messages=({"role": "user", "content": content},),
        licenses=(license,),
        documents={"guide.txt": "/a b/guide"},
    )
    assert parse(render(said).encode()) == said


def test_marks_lines_that_would_end_a_text_too_early() -> None:
    said = Modelfile(("base",), system='def f():\n    """Doc."""\n    return "x"')
    assert render(said) == 'FROM base\nSYSTEM """def f():\n    """Doc."""\u034f\n    return "x""""\n'
    assert parse(render(said).encode()) == said


@given(st.binary(max_size=200))
def test_never_fails_in_another_way(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        parse(b"FROM a\n" + data)
