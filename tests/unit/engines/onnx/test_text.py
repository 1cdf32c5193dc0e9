"""Tokens and text, for each kind of tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hutch.core.errors import BadInput, FormatError
from hutch.engines.onnx.text import Output, Tokens
from tests.unit.engines.onnx import made_tokenizers as made
from tests.unit.engines.onnx.test_stops import first_stop


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A byte-level vocabulary."""
    return Tokens(made.byte_level(tmp_path_factory.mktemp("bytes")), eos=[2])


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A vocabulary as SentencePiece writes it."""
    return Tokens(made.sentence_piece(tmp_path_factory.mktemp("spaces")))


@given(st.text(st.characters(codec="utf-8")))
def test_a_byte_level_vocabulary_gives_back_every_text(tokens: Tokens, text: str) -> None:
    assert tokens.decode(tokens.encode(text, parse_special=False)) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="▁")))
def test_a_sentence_piece_vocabulary_gives_back_every_text(spaces: Tokens, text: str) -> None:
    ids = spaces.encode(text, parse_special=False)
    assert spaces.decode(ids) == (f" {text}" if text else "")


def test_pieces_are_bytes(tokens: Tokens, spaces: Tokens) -> None:
    assert b"".join(map(tokens.bytes_of, tokens.encode("é😀"))) == "é😀".encode()
    said = [spaces.bytes_of(each) for each in spaces.encode("hello é")]
    assert said == [b" hello", b" ", b"\xc3", b"\xa9"]
    assert tokens.bytes_of(0) == b"<|bos|>"
    assert tokens.bytes_of(-1) == tokens.bytes_of(tokens.size) == b""


@pytest.mark.parametrize(
    ("make", "text", "pieces"),
    [
        (made.unigram, "hello world", [b" hello", b" wor", b"ld"]),
        (made.word_piece, "hello world", [b" hello", b" wor", b"ld"]),
    ],
)
def test_other_kinds_are_bytes_too(
    make: Callable[[Path], Path], text: str, pieces: list[bytes], tmp_path: Path
) -> None:
    tokens = Tokens(make(tmp_path))
    assert [tokens.bytes_of(each) for each in tokens.encode(text)] == pieces


def test_special_tokens_are_those_that_the_file_calls_so(tokens: Tokens) -> None:
    assert tokens.special == {0, 1, 2, 3}
    assert tokens.eos == {2}
    assert tokens.id_of("<|im_end|>") == 2
    assert tokens.id_of("<|nope|>") is None


def test_special_names_in_a_text_are_tokens_only_where_that_is_asked_for(tokens: Tokens) -> None:
    assert tokens.encode("<|im_end|>") == [2]
    literal = tokens.encode("<|im_end|>", parse_special=False)
    assert not tokens.special & set(literal)
    assert tokens.decode(literal) == "<|im_end|>"
    think = tokens.id_of("<think>")
    assert tokens.encode("<think>", parse_special=False) == [think]  # added, but not special


def test_what_a_tokenizer_puts_before_a_text_is_put_there_once(tmp_path: Path, tokens: Tokens) -> None:
    with_bos = Tokens(made.byte_level(tmp_path, adds_bos=True))
    assert with_bos.bos == 0
    assert tokens.bos is None
    assert with_bos.encode("The", add_special=True)[0] == 0
    assert with_bos.encode("<|bos|>The", add_special=True) == with_bos.encode("The", add_special=True)
    assert with_bos.encode("The") == tokens.encode("The", add_special=True)


def test_parts_of_text_and_tokens_make_one_prompt(tmp_path: Path) -> None:
    tokens = Tokens(made.byte_level(tmp_path, adds_bos=True))
    the, fox = tokens.encode("The"), tokens.encode(" fox")
    assert tokens.encode_mixed(["The", 2, " fox"]) == [0, *the, 2, *fox]
    assert tokens.encode_mixed([5, "The"]) == [5, *the]
    with pytest.raises(BadInput, match="no token 99999"):
        tokens.encode_mixed([99999])


def test_half_a_character_is_refused(tokens: Tokens) -> None:
    with pytest.raises(BadInput, match="Unicode"):
        tokens.encode("a\ud800b")


def test_a_file_does_not_cut_or_fill_up(tmp_path: Path) -> None:
    path = made.byte_level(tmp_path)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(path))
    tokens = Tokens(path)
    assert tokens.decode(tokens.encode("The quick brown fox")) == "The quick brown fox"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"model": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_tokenizer_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"tokenizer\.json is no tokenizer"):
        Tokens(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        Tokens(tmp_path / "tokenizer.json")


def test_a_vocabulary_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = made.byte_level(tmp_path)
    file = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            file
            | {
                "decoder": {"type": "CTC", "pad_token": "", "word_delimiter_token": "|", "cleanup": False},
                "pre_tokenizer": None,
            }
        )
    )
    with pytest.raises(FormatError, match="decoder"):
        Tokens(path)


def streamed(tokens: Tokens, ids: list[int], stops: list[str]) -> tuple[list[str], str]:
    """The pieces of an output, and the stop that ended it."""
    output = Output(tokens, stops)
    pieces = [output.feed(each) for each in ids]
    return [*pieces, output.end()], output.stop


@given(st.text("ab<e😀", max_size=20), st.lists(st.text("ab<e😀", min_size=1, max_size=4), max_size=3))
def test_a_stream_is_the_whole_text_up_to_the_first_stop(tokens: Tokens, text: str, stops: list[str]) -> None:
    ids = tokens.encode(text, parse_special=False)
    pieces, stop = streamed(tokens, ids, stops)
    wanted, end = first_stop(text, stops)
    assert ("".join(pieces), stop) == (text[: end - len(wanted)], wanted)


@given(st.lists(st.integers(0, 430), max_size=12))
def test_bytes_that_are_no_utf8_come_out_as_a_decoder_would_have_them(tokens: Tokens, ids: list[int]) -> None:
    said = b"".join(tokens.bytes_of(each) for each in ids if each not in tokens.special)
    pieces, _ = streamed(tokens, ids, [])
    assert "".join(pieces) == said.decode(errors="replace")


def test_a_character_is_never_split(tokens: Tokens) -> None:
    ids = [
        next(t for t in range(tokens.size) if tokens.bytes_of(t) == bytes([byte])) for byte in "😀é".encode()
    ]
    assert streamed(tokens, ids, []) == (["", "", "", "😀", "", "é", ""], "")
    assert streamed(tokens, ids[:2], []) == (["", "", "\ufffd"], "")


def test_no_more_is_held_back_than_may_become_a_stop(tokens: Tokens) -> None:
    output = Output(tokens, ["abc"])
    fed = [output.feed(tokens.encode(char)[0]) for char in "xabab"]
    assert fed == ["x", "", "", "ab", ""]
    assert (output.feed(tokens.encode("c")[0]), output.stop) == ("", "abc")
    assert output.feed(tokens.encode("d")[0]) == output.end() == ""


def test_special_tokens_are_silent_unless_they_are_asked_for(tokens: Tokens) -> None:
    ids = [*tokens.encode("a"), 3, *tokens.encode("b")]
    assert "".join(streamed(tokens, ids, [])[0]) == "ab"
    output = Output(tokens, preserved=[3])
    assert "".join(map(output.feed, ids)) == "a<|tool|>b"
    assert streamed(tokens, ids, ["<|tool|>"]) == (["a", "", "", ""], "<|tool|>")
