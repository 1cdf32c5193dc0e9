"""The verdict on what Hutch must reach."""

import pytest

from bench.compare import Plan, Report
from bench.figures import Turn, Value
from bench.servers import Peer
from bench.starts import ALL
from bench.targets import TARGETS, Target, told, verdicts


def report(workload: str, figure: str, values: dict[str, Value]) -> Report:
    """A run of one turn. Servers are called by their kinds."""
    peers = tuple(Peer(kind, kind) for kind in values)
    turn = Turn(1, workload, {figure: values}, {}, {}, {}, {})
    return Report(
        peers,
        Plan(tuple(each for each in ALL if each.name == workload), next(iter(values))),
        [turn],
        was_cut=False,
    )


def test_every_target_is_of_a_figure_that_is_measured() -> None:
    known = {(each.name, figure) for each in ALL for figure, _ in each.figures}
    assert {(each.workload, each.figure) for each in TARGETS} <= known


@pytest.mark.parametrize(
    ("mine", "other", "word"),
    [
        (102.9, 100.0, "holds"),
        (103.1, 100.0, "holds"),
        (105.5, 100.0, "missed"),
        (22.9, 20.0, "holds"),
        (23.1, 20.0, "missed"),
        (99.0, 100.0, "aim reached"),
        (None, 100.0, "not measured"),
    ],
)
def test_a_first_token_may_be_so_much_later_or_such_a_share(mine: Value, other: Value, word: str) -> None:
    found = verdicts(
        report("short chat", "first token", {"yardstick": other, "hutch-built": mine}), TARGETS[:1]
    )
    assert [each.word for each in found] == [word]
    assert found[0].holds == (word in ("holds", "aim reached"))


@pytest.mark.parametrize(("mine", "word"), [(1.79, "missed"), (1.81, "holds"), (2.5, "aim reached")])
def test_a_rate_must_be_so_many_times(mine: float, word: str) -> None:
    target = Target("code edit", "decode", ("ollama",), 1.8, 2.5)
    found = verdicts(report("code edit", "decode", {"ollama": 1.0, "hutch-built": mine}), [target])
    assert [each.word for each in found] == [word]
    assert told(found[0]).startswith(
        f"{word}: hutch-built, code edit, decode, beside ollama: {mine:.2f} times (must 1.8 times"
    )


def test_the_wheel_is_judged_after_the_built_engine_and_ollama_goes_before_its_yardstick() -> None:
    values: dict[str, Value] = {"hutch": 1.0, "yardstick": 1.0, "ollama": 1.0, "hutch-built": 1.0}
    found = verdicts(report("one stream", "decode", values))
    assert [(each.server, each.base) for each in found] == [("hutch-built", "ollama"), ("hutch", "ollama")]
    assert [each.counts for each in found] == [True, False]
    alone = verdicts(report("one stream", "decode", {"hutch": 1.0, "ollama": 1.0}))
    assert [each.counts for each in alone] == [True]


def test_nobody_is_judged_who_does_not_take_part() -> None:
    assert not verdicts(report("one stream", "decode", {"hutch-built": 1.0}))
    assert not verdicts(report("short chat", "first token", {"foundry": 1.0, "hutch-onnx": 1.0}))
