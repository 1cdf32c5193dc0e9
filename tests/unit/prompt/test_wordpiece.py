"""WordPiece, with a vocabulary of a few words."""

import pytest

from hutch.prompt import wordpiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (
    "▁the",
    "▁ele",
    "phant",
    "▁cafe",
    "▁,",
    "▁我",
    "▁a",
    "a",
    "▁ᄒ",
    "ᅡ",
    "ᆫ",
    "▁न",
    "ि",
    "▁$",
    "▁ss",
    "▁i",
)
METADATA = {
    "tokenizer.ggml.model": "bert",
    "tokenizer.ggml.tokens": SPECIAL + WORDS,
    "tokenizer.ggml.token_type": (3,) * len(SPECIAL) + (1,) * len(WORDS),
    "tokenizer.ggml.bos_token_id": 2,
    "tokenizer.ggml.seperator_token_id": 3,
    "tokenizer.ggml.unknown_token_id": 1,
}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" \t\n\u00a0\u2028", []),
        ("The elephant,the", ["▁the", "▁ele", "phant", "▁,", "▁the"]),
        ("CAFÉ cafe\u0301", ["▁cafe", "▁cafe"]),
        ("我我the", ["▁我", "▁我", "▁the"]),
        ("한", ["▁ᄒ", "ᅡ", "ᆫ"]),
        ("नि", ["▁न", "ि"]),
        ("$the", ["▁$", "▁the"]),
        ("İ", ["▁i"]),
        ("t\x00h\u200b\ufffde", ["▁the"]),
        ("elephants", ["[UNK]"]),
        ("a" * 100, ["▁a", *["a"] * 99]),
        ("a" * 101, ["[UNK]"]),
        ("the[SEP]the", ["▁the", "[SEP]", "▁the"]),
        ("the[sep]", ["▁the", "[UNK]", "[UNK]", "[UNK]"]),
    ],
)
def test_texts_become_pieces(text: str, pieces: list[str]) -> None:
    words = wordpiece.of(METADATA)
    assert words is not None
    all_texts = SPECIAL + WORDS
    assert [all_texts[each] for each in words.tokens(text, 1000)] == ["[CLS]", *pieces, "[SEP]"]


def test_a_long_text_is_not_read_to_its_end() -> None:
    words = wordpiece.of(METADATA)
    assert words is not None
    assert words.tokens("the " * 1000, 5) == [2, 4, 4, 4, 4, 3]


def test_other_tokenizers_are_the_engines() -> None:
    assert wordpiece.of({"tokenizer.ggml.model": "gpt2"}) is None
