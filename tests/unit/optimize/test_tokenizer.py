"""A tokenizer of a GGUF file as Hugging Face's files."""

import json
from array import array
from typing import Any

import pytest
from tokenizers import Tokenizer

from hutch.core.errors import NotBuilt
from hutch.optimize import texts
from hutch.optimize.tokenizer import is_byte_level, tokenizer_config, tokenizer_document

_BYTES = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
_BYTES += [chr(256 + index) for index in range(256 - len(_BYTES))]


def metadata(pre: str, **more: Any) -> dict[str, Any]:
    tokens = ["<s>", "</s>", *_BYTES, "he", "hel", "12", "ĠĠ"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tuple(tokens),
        "tokenizer.ggml.token_type": array("i", [3, 3, *[1] * (len(tokens) - 2)]),
        "tokenizer.ggml.merges": ("h e", "he l", "1 2", "Ġ Ġ"),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages }}",
        **more,
    }


def made(pre: str, **more: Any) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(tokenizer_document(metadata(pre, **more))))


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"])
def test_a_text_comes_back_as_it_was(pre: str) -> None:
    tokenizer = made(pre)
    for text in (*texts.built_in(), "a  b\n\n\tc 12 日本 🙂"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_digits_are_split_where_the_model_learnt_them_so() -> None:
    assert made("smollm").encode("hel12").tokens == ["hel", "1", "2"]
    assert made("gpt-2").encode("hel12").tokens == ["hel", "12"]


def test_special_tokens_are_found_in_a_text() -> None:
    assert made("smollm").encode("<s>he</s>").ids[:1] == [0]
    assert made("smollm").encode("<s>he</s>").ids[-1] == 1


def test_the_first_token_is_added_where_the_model_wants_one() -> None:
    assert made("llama-bpe", **{"tokenizer.ggml.add_bos_token": True}).encode("he").tokens == ["<s>", "he"]
    assert made("llama-bpe").encode("he").tokens == ["he"]


def test_the_config_has_the_template_and_the_special_tokens() -> None:
    said = tokenizer_config(metadata("smollm"))
    assert said["chat_template"] == "{{ messages }}"
    assert (said["bos_token"], said["eos_token"]) == ("<s>", "</s>")
    assert said["add_bos_token"] is False


def test_a_way_of_splitting_that_is_not_known_is_refused() -> None:
    with pytest.raises(NotBuilt, match="splits text as 'mystery'"):
        tokenizer_document(metadata("mystery"))


def test_other_kinds_of_vocabulary_are_told_apart() -> None:
    assert is_byte_level(metadata("gpt-2"))
    assert not is_byte_level({"tokenizer.ggml.model": "llama"})
