"""Headers that are remembered."""

from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import FormatError
from hutch.formats import gguf, headers
from tests.gguf_files import tiny_model


def test_a_header_says_the_same_as_the_file_but_for_its_long_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "_LONGEST_ARRAY", 2)
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model())
    whole, kept = gguf.read(path), headers.header(path)
    assert kept.metadata.keys() == whole.metadata.keys()
    assert not kept.metadata["tokenizer.ggml.tokens"]
    assert (kept.architecture, kept.tensors, kept.size_bytes) == (
        whole.architecture,
        whole.tensors,
        whole.size_bytes,
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, None),
        ({"tokenizer.ggml.tokens": ("a", "b", "<0x0A>", "<MID>", "<PRE>", "<SUF>")}, ("<PRE>", "<SUF>", "<MID>")),
        ({"tokenizer.ggml.tokens": ("a", "b", "<0x0A>", "<MID>", "<PRE>", "c")}, None),
        ({f"tokenizer.ggml.fim_{part}_token_id": i for i, part in enumerate(("pre", "suf", "mid"), 3)}, ("a", "b", "ab")),
        ({f"tokenizer.ggml.{part}_token_id": i for i, part in enumerate(("prefix", "suffix", "middle"), 3)}, ("a", "b", "ab")),
    ],
)  # fmt: skip
def test_a_header_knows_the_tokens_that_ask_for_the_middle(
    tmp_path: Path, changes: dict[str, Any], found: tuple[str, str, str] | None
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model(changes))
    assert headers.header(path).fim == found


def test_a_file_is_read_again_only_when_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model())
    first = headers.header(path)
    assert headers.header(path) is first
    path.write_bytes(tiny_model()[:100])
    with pytest.raises(FormatError):
        headers.header(path)


def test_a_file_that_is_not_there_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        headers.header(tmp_path / "none.gguf")
