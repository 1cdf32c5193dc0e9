"""What a search remembers, and what becomes of a source that cannot be timed."""

from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import EngineFailed
from hutch.core.names import ModelName
from hutch.optimize import libraries, recipes, search
from hutch.optimize.making import Workshop
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
