"""How answers to tasks are scored."""

import json

import pytest

from bench import tasks


def test_every_item_is_scored_right_and_wrong() -> None:
    data = json.loads(tasks.DATA.read_text("utf-8"))
    assert set(data) == {*tasks.SCORES, "ocr"}
    assert all(len(item) == 2 for name in tasks.SCORES for group in data[name] for item in group["items"])
    rows = {"rows": [["A", "1 "], ["b.", None]]}
    assert tasks.same_cells(rows, "", [["a", "1"], ["B", ""]]) == 1
    assert tasks.same_cells(rows, "", [["a", "2"]]) == 0
    assert tasks.same_fields({"data": {"a": "x"}}, "", {"a": "X", "b": None}) == 1
    found = {"found": [{"start": 0, "end": 4}, {"start": 5, "end": 8}]}
    assert tasks.same_names(found, "Anna met", ["Anna"]) == pytest.approx(2 / 3)
    assert tasks.facts_in_summary({"summary": "a b"}, "a b c", [["a"]]) == 0  # it is hardly shorter
    assert tasks.facts_in_summary({"summary": "a"}, "a b c", [["x", "a"], ["c"]]) == 0.5
    assert tasks.facts_in_other_words({"text": "A b."}, "a b", [["a"]]) == 0  # the same words


@pytest.mark.parametrize(
    ("one", "other", "steps"), [("", "ab", 2), ("abc", "abc", 0), ("kitten", "sitting", 3)]
)
def test_a_distance_counts_characters(one: str, other: str, steps: int) -> None:
    assert tasks.distance(one, other) == tasks.distance(other, one) == steps
