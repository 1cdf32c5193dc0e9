"""Log-probabilities of tokens that are parts of characters, of stop strings, or of nothing."""

from typing import Any

import pytest

from hutch.engines.onnx.answer import End, Piece, Timings
from hutch.engines.onnx.probabilities import Probabilities
from hutch.engines.onnx.sampling import Choice
from hutch.engines.onnx.text import Output, Tokens
from tests.unit.engines.onnx import made_tokenizers as made

NO_TIME = Timings(0, 0, 0.0, 0, 0.0)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(made.byte_level(tmp_path_factory.mktemp("bytes")), eos=[2])


def told(tokens: Tokens, *written: str | bytes | int, stop: str = "") -> tuple[str, list[dict[str, Any]]]:
    """The answer that these make, each a text, bytes or a token, and what is told of its tokens."""
    output, probabilities = Output(tokens, [stop] if stop else []), Probabilities(tokens)
    text, entries = "", []
    for part in written:
        for token in [part] if isinstance(part, int) else _each(tokens, part):
            if output.stop:
                break
            added = output.feed(token)
            text += added
            entries += probabilities.feed(
                Piece(added, Choice(token, -1.0, ((token, -1.0),)), output.bytes_of(token))
            )
    last = output.end()
    entries += probabilities.end(End(last, "word" if output.stop else "eos", output.stop, False, NO_TIME))
    return text + last, entries


def _each(tokens: Tokens, part: str | bytes) -> list[int]:
    """A token for each byte, or for a text those of the tokenizer."""
    if isinstance(part, str):
        return tokens.encode(part)
    single = {
        tokens.bytes_of(token): token for token in range(tokens.size) if len(tokens.bytes_of(token)) == 1
    }
    return [single[bytes([byte])] for byte in part]


def answered(entries: list[dict[str, Any]]) -> bytes:
    return b"".join(bytes(entry["bytes"]) for entry in entries)


def test_a_character_of_several_tokens_has_all_of_them(tokens: Tokens) -> None:
    text, entries = told(tokens, "a", "🦜".encode(), "東")
    assert (text, answered(entries)) == ("a🦜東", text.encode())
    assert [entry["token"] for entry in entries[1:5]] == ["\ufffd"] * 4
    assert [entry["bytes"] for entry in entries[1:5]] == [[0xF0], [0x9F], [0xA6], [0x9C]]
    assert entries[1]["top_logprobs"] == [
        {key: entries[1][key] for key in ("id", "token", "bytes", "logprob")}
    ]


def test_a_special_token_adds_nothing(tokens: Tokens) -> None:
    text, entries = told(tokens, "hi", 2)
    assert (text, answered(entries)) == ("hi", b"hi")
    assert (entries[-1]["id"], entries[-1]["token"], entries[-1]["bytes"]) == (2, "", [])
    assert entries[-1]["top_logprobs"][0]["token"] == "<|im_end|>"


@pytest.mark.parametrize(
    ("stop", "answer"),
    [("XYZ", "aé"), ("éXYZ", "a"), ("aé", ""), ("ZZ", "aéXYZ 東 "), ("XYZ 東 Q", "aéXYZ 東 ")],
)
def test_what_a_stop_string_takes_away_is_not_told(tokens: Tokens, stop: str, answer: str) -> None:
    for written in ("aéXYZ 東 ", "aéXYZ 東 ".encode()):
        text, entries = told(tokens, written, stop=stop)
        assert (text, answered(entries)) == (answer, answer.encode())


def test_a_stop_string_may_begin_within_a_token(tokens: Tokens) -> None:
    name = tokens.id_of("<think>")
    assert name is not None
    text, entries = told(tokens, "a", name, stop="ink>")
    assert (text, [entry["token"] for entry in entries]) == ("a<th", ["a", "<th"])


def test_broken_characters_lose_no_token(tokens: Tokens) -> None:
    text, entries = told(tokens, b"a\xf0\x9fb\x9cc\xe6\x9d")
    assert text == "a\ufffdb\ufffdc\ufffd"
    assert answered(entries) == b"a\xf0\x9fb\x9cc\xe6\x9d"
