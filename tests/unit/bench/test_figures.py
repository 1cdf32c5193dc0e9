"""Medians, ratios by pairs, and the table."""

from bench.figures import Spread, Turn, Value, line, table


def turn(**values: Value) -> Turn:
    return Turn(1, "short chat", {"first token": values}, {}, {}, {}, {})


def test_a_ratio_is_the_median_of_the_pairs_and_not_of_the_medians() -> None:
    turns = [turn(a=2.0, b=1.0), turn(a=30.0, b=10.0), turn(a=400.0, b=100.0)]
    found = line(turns, ("first token", "ms"), "a", "b")
    assert found.own == Spread(30.0, 2.0, 400.0, 3)
    assert found.times == Spread(1 / 3, 0.25, 0.5, 3)  # milliseconds: more is worse
    assert found.difference == Spread(20.0, 1.0, 300.0, 3)


def test_a_turn_that_failed_on_one_side_is_no_pair() -> None:
    turns = [turn(a=None, b=1.0), turn(a=3.0, b=1.0), turn(b=5.0)]
    found = line(turns, ("first token", "ms"), "a", "b")
    assert found.own == Spread(3.0, 3.0, 3.0, 1)
    assert found.times == Spread(1 / 3, 1 / 3, 1 / 3, 1)


def test_the_baseline_has_no_ratio_and_nothing_has_no_median() -> None:
    assert line([turn(a=1.0, b=1.0)], ("first token", "ms"), "b", "b").times is None
    nothing = line([turn(a=None, b=None)], ("first token", "ms"), "a", "b")
    assert (nothing.own, nothing.times, nothing.difference) == (None, None, None)


def test_a_table_has_a_row_for_each_figure() -> None:
    turns = [turn(a=2.0, b=1.0), turn(a=None, b=None)]
    rows = table([line(turns, ("first token", "ms"), name, "b") for name in ("a", "b")], "b").splitlines()
    assert len(rows) == 3
    assert "0.500 (0.500–0.500)" in rows[1]
    assert "+1.0" in rows[1]
