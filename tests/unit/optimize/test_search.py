"""What a search remembers, and what becomes of a source that cannot be timed."""

from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import EngineFailed
from hutch.core.names import ModelName
from hutch.optimize import libraries, making, recipes, search
from hutch.optimize.making import Workshop
from hutch.optimize.recipes import Recipe
from hutch.optimize.search import Report, Search, Wanted
from hutch.optimize.source import Source
from hutch.optimize.speed import Speed
from tests import gguf_files


class _Shelf:
    def delete(self, name: ModelName) -> None:
        """Nothing is kept."""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A source for which there is no recipe, so that it alone is timed."""

    def stored(*_: object) -> Any:
        yield from ()
        return _Shelf(), ModelName.parse("x")

    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(libraries, "check", lambda: None)
    monkeypatch.setattr(recipes, "only", lambda *_: ())
    monkeypatch.setattr(Workshop, "stored", stored)
    (tmp_path / "x.gguf").write_bytes(gguf_files.tiny_model())
    return Source("x", "gguf", "0" * 64, {"model.gguf": tmp_path / "x.gguf"})


def _searched(root: Path, source: Source) -> Report:
    steps = Search(root, source, Wanted()).run()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            report: Report = end.value
            return report


def test_a_speed_holds_for_the_settings_that_it_was_measured_with(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = iter((Speed(0.1, 1, 1, 1), Speed(0.1, 2, 2, 1)))
    monkeypatch.setattr(search, "measure", lambda *_: next(speeds))
    for threads, decode_tps in (("1", 1), ("1", 1), ("2", 2), ("1", 1)):
        monkeypatch.setenv("HUTCH_NUM_THREAD", threads)
        (outcome,) = _searched(tmp_path, source).outcomes
        assert outcome.speed is not None
        assert outcome.speed.decode_tps == decode_tps


def test_a_source_that_cannot_be_timed_does_not_end_the_search(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Speed:
        raise EngineFailed("the worker died")

    monkeypatch.setattr(search, "measure", fail)
    report = _searched(tmp_path, source)
    assert [each.problem for each in report.outcomes] == ["the worker died"]
    assert report.chosen is None


def test_only_the_best_so_far_is_kept_on_the_disk(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"slow": 1, "fast": 2, "faster": 3, "wild": 9}
    tried = tuple(Recipe(name, "onnx", name, "build", {"name": name}) for name in rates)
    num_kept: list[int] = []

    def once(target: Path, _: object) -> Any:
        target.mkdir(parents=True, exist_ok=True)
        yield from ()

    def judge(*_: object) -> Any:
        yield from ()
        num_kept.append(len(list((tmp_path / "work").glob("*/made/*"))))
        is_last = len(num_kept) == len(tried)
        return {"mean_kl": 9.0 if is_last else 0.0, "top1": 1.0, "num_tokens": 5000}

    speeds = iter([Speed(0.1, rate, rate, 1) for rate in (0.5, *rates.values())])
    monkeypatch.setattr(recipes, "only", lambda *_: tried)
    monkeypatch.setattr(making, "once", once)
    monkeypatch.setattr(Workshop, "accuracy", judge)
    monkeypatch.setattr(search, "measure", lambda *_: next(speeds))
    report = _searched(tmp_path, source)
    assert report.chosen is not None
    assert report.chosen.name == "faster"
    assert num_kept == [1, 2, 2, 2]
    assert len(list((tmp_path / "work").glob("*/made/*"))) == 1
