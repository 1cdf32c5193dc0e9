"""`hutch optimize` without its libraries: what a search or Olive makes is given."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.cli import optimize, side
from hutch.core.errors import Conflict
from hutch.core.names import ModelName
from hutch.optimize import source, variant
from hutch.optimize.choice import Outcome
from hutch.optimize.gate import Gate
from hutch.optimize.making import alone
from hutch.optimize.search import Report, Search
from hutch.optimize.source import Source
from hutch.optimize.variant import Variant

_NAME = ModelName.parse("m:1b")


class Put:
    """What came into the store, and from which model."""

    name: ModelName
    base: ModelName | None


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    seen = Put()
    root = tmp_path / "home" / "optimize"

    def is_held() -> None:
        with pytest.raises(Conflict), alone(root):
            pass

    def kept(_: object, name: ModelName, __: object, base: ModelName | None) -> Iterator[Any]:
        is_held()
        seen.name, seen.base = name, base
        yield from ()

    def searched(_: Search) -> Any:
        yield from ()
        chosen = Outcome("gguf-q4_0", "gguf")
        return Report("m:1b", Gate(), (chosen,), chosen, Variant("gguf", {}))

    def by_olive(*_: object) -> Any:
        yield from ()
        return Variant("onnx", {})

    def judged(_: Search, name: str, made: Variant) -> Any:
        yield from ()
        chosen = Outcome(name, made.format)
        return Report("m:1b", Gate(), (chosen,), chosen, made)

    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(side, "is_here", lambda: True)
    monkeypatch.setattr(source, "find", lambda *_: Source("m:1b", "gguf", "0" * 64, {}, _NAME))
    monkeypatch.setattr(variant, "put", kept)
    monkeypatch.setattr(Search, "run", searched)
    monkeypatch.setattr(Search, "judged", judged)
    monkeypatch.setattr(Search, "clean", lambda _: is_held())
    monkeypatch.setattr(optimize, "run_recipe", by_olive)
    return seen


def _optimize(**given: Any) -> int:
    names = ("history", "format", "quant", "to", "recipe", "data", "max_kl", "min_top1", "picture", "json")
    return optimize.optimize(argparse.Namespace(**{**dict.fromkeys(names), "model": "m:1b", **given}))


def test_the_picture_comes_in_the_form_that_its_name_says(put: Put, tmp_path: Path) -> None:
    for name, begin in (("a.png", b"\x89PNG"), ("b.SVG", b"<svg ")):
        assert _optimize(picture=str(tmp_path / name)) == 0
        assert (tmp_path / name).read_bytes().startswith(begin)


def test_a_variant_is_named_by_the_format_that_was_chosen(put: Put) -> None:
    assert _optimize(quant="q4_0") == 0
    assert (put.name.short, put.base) == ("m:1b-gguf-q4_0", _NAME)


def test_a_variant_by_olive_says_what_its_source_says(put: Put) -> None:
    assert _optimize(recipe="olive:x.json") == 0
    assert (put.name.short, put.base) == ("m:1b-onnx-olive", _NAME)
