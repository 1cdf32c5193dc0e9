"""Which variant is taken."""

import pytest

from hutch.core.errors import BadInput
from hutch.optimize import choice
from hutch.optimize.choice import Outcome
from hutch.optimize.gate import Accuracy, Gate
from hutch.optimize.speed import Speed


def outcome(name: str, mean_kl: float, rate: float, **more: object) -> Outcome:
    accuracy = Accuracy(mean_kl, 1 - mean_kl, 5000)
    speed = Speed(0.1, rate, rate, 1 << 20)
    made = Outcome(name, "onnx", 100, accuracy, speed, Gate().objections(accuracy))
    return Outcome(**{**{each: getattr(made, each) for each in made.__slots__}, **more})


SOURCE = outcome("source", 0.0, 100.0, is_source=True)
CLOSE = outcome("close", 0.01, 150.0)
WILD = outcome("wild", 0.4, 300.0)
SLOW = outcome("slow", 0.02, 50.0)


def test_the_fastest_that_passes_is_chosen() -> None:
    found = choice.chosen([SOURCE, CLOSE, WILD, SLOW])
    assert found is not None
    assert found.name == "close"


def test_the_source_is_chosen_where_nothing_close_is_faster() -> None:
    found = choice.chosen([SOURCE, WILD, SLOW])
    assert found is SOURCE


def test_of_two_equally_fast_the_smaller_is_chosen() -> None:
    small = outcome("small", 0.03, 150.0, size_bytes=50)
    assert choice.chosen([CLOSE, small]) is small


@pytest.mark.parametrize(
    "lacking",
    [
        {"accuracy": None},
        {"speed": None},
        {"problem": "it does not load"},
        {"objections": ("too far",)},
    ],
)
def test_what_lacks_a_figure_or_does_not_pass_is_never_chosen(lacking: dict[str, object]) -> None:
    assert choice.chosen([outcome("x", 0.01, 900.0, **lacking)]) is None


def test_the_pareto_front_has_what_nothing_beats_in_both() -> None:
    assert [each.name for each in choice.pareto([WILD, SLOW, CLOSE, SOURCE])] == ["source", "close", "wild"]


def test_the_gate_is_never_looser_than_its_decision() -> None:
    gate = Gate()
    assert gate.max_mean_kl <= 0.15
    assert gate.min_top1 >= 0.85
    assert gate.min_tokens >= 4_000


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (Accuracy(0.2, 0.9, 5000), "mean KL 0.200 is above 0.15 nats"),
        (Accuracy(0.1, 0.8, 5000), "top-1 agreement 0.800 is below 0.85"),
        (Accuracy(0.1, 0.9, 3999), "only 3,999 tokens were read"),
        (Accuracy(float("nan"), 0.9, 5000), "mean KL nan"),
    ],
)
def test_the_gate_says_what_it_objects_to(accuracy: Accuracy, words: str) -> None:
    (said,) = Gate().objections(accuracy)
    assert said.startswith(words)


def test_the_gate_passes_what_is_just_good_enough() -> None:
    assert Gate().objections(Accuracy(0.15, 0.85, 4_000)) == ()


@pytest.mark.parametrize(
    ("bound", "value"), [("max_mean_kl", -1.0), ("min_top1", 1.5), ("max_mean_kl", float("nan"))]
)
def test_bounds_that_mean_nothing_are_refused(bound: str, value: float) -> None:
    with pytest.raises(BadInput):
        Gate(**{bound: value})  # type: ignore[arg-type]
