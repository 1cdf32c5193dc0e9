"""What was found before."""

from pathlib import Path

import pytest

from hutch.core.errors import FormatError
from hutch.optimize.records import Records, digest


def test_what_was_found_is_known_for_the_same_inputs_alone(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.keep({"source": "a", "recipe": {"b": 1, "c": 2}}, {"mean_kl": 0.1})
    assert records.known({"recipe": {"c": 2, "b": 1}, "source": "a"}) == {"mean_kl": 0.1}
    assert Records(tmp_path).known({"source": "a", "recipe": {"b": 1, "c": 3}}) is None


def test_a_search_lies_under_the_digest_of_what_it_says(tmp_path: Path) -> None:
    records = Records(tmp_path)
    path = records.keep_search({"source": "m"})
    ((name, report),) = records.searches()
    assert path.stem == name == digest(report)
    assert report["source"] == "m"


def test_searches_come_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path)
    for number in (1, 3, 2):
        monkeypatch.setattr(
            "hutch.optimize.records._now", lambda number=number: f"2026-01-0{number}T00:00:00+00:00"
        )
        records.keep_search({"number": number})
    assert [report["number"] for _, report in records.searches()] == [3, 2, 1]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"found": {}}', '{"at": 1}', "[" * 10_000])
def test_a_damaged_finding_is_named(tmp_path: Path, content: str) -> None:
    records = Records(tmp_path)
    path = records.keep_search({})
    path.write_text(content)
    with pytest.raises(FormatError) as caught:
        records.searches()
    assert str(path) in caught.value.hint
