"""How far two models are apart."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.errors import BadInput
from hutch.core.models import Progress
from hutch.optimize import logits, texts


@given(st.integers(0, 2**32 - 1))
def test_a_model_is_no_way_from_itself_and_some_way_from_others(seed: int) -> None:
    generator = np.random.default_rng(seed)
    one = logits.log_probabilities(generator.normal(0, 3, (5, 40)).astype(np.float32))
    other = logits.log_probabilities(generator.normal(0, 3, (5, 40)).astype(np.float32))
    divergence, agrees = logits.apart(one, one)
    assert np.abs(divergence).max() < 1e-5
    assert agrees.all()
    assert (logits.apart(one, other)[0] > 0).all()


def test_the_divergence_is_that_of_the_definition() -> None:
    source, candidate = np.array([[0.5, 0.5]], np.float32), np.array([[0.25, 0.75]], np.float32)
    divergence, agrees = logits.apart(np.log(source), np.log(candidate))
    assert divergence[0] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), abs=1e-6)
    assert not agrees[0]


def test_a_reference_of_16_bits_is_near_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(0, 4, (60, 500)).astype(np.float32)

    def read(_folder: Path, given: Sequence[Sequence[int]]) -> Iterator[logits.Part]:
        at = 0
        for ids in given:
            yield logits.Part(np.arange(at, at + len(ids)), values[at : at + len(ids)])
            at += len(ids)

    monkeypatch.setitem(logits.KINDS, "torch", read)
    ids = [list(range(20)), list(range(40))]
    reference = tmp_path / "reference.npy"
    assert list(logits.write_reference("torch", tmp_path, ids, reference))[-1].completed == 60
    *progress, found = logits.compare("torch", tmp_path, ids, reference)
    assert all(isinstance(each, Progress) for each in progress)
    assert isinstance(found, dict)
    assert found["mean_kl"] < 1e-4
    assert found["top1"] > 0.98
    assert found["num_tokens"] == 60


def test_the_built_in_texts_are_long_enough_and_plain() -> None:
    passages = texts.built_in()
    assert len(passages) >= 10
    assert sum(map(len, passages)) > 4.2 * texts.MIN_TOKENS
    assert all(passage.strip() for passage in passages)


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words " * 1000, encoding="utf-8")
    assert texts.of_file(tmp_path / "a.txt") == ("words " * 1000,)


@pytest.mark.parametrize("name", ["absent.txt", ".", "bad.txt", "short.txt"])
def test_what_is_no_text_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "short.txt").write_text("words")
    with pytest.raises(BadInput):
        texts.of_file(tmp_path / name)
