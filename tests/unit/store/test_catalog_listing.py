"""The catalog as a table."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hutch.core.errors import BadInput
from hutch.core.models import Details, StoredModel
from hutch.store import catalog
from hutch.store.catalog_listing import Filter, told
from hutch.store.fitting import Machine
from tests.unit.store.test_cards_file import CARD, ENTRY, layer
from tests.unit.store.things import name

OURS = replace(catalog.load(), machine=Machine(25 * 10**9))


def stored(text: str, quantization: str = "", format_: str = "gguf") -> StoredModel:
    details = Details(format=format_, quantization_level=quantization)
    return StoredModel(name(text), "0" * 64, 1, datetime.now(UTC), details)


def models(*here: StoredModel, **said: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in told(OURS, here, Filter.parse(said))["models"]}


def test_everything_is_listed_once() -> None:
    assert len(models()) == len(OURS.cards)
    for model in models().values():
        assert [each["chosen"] for each in model["variants"]].count(True) == 1


@pytest.mark.parametrize(
    ("said", "inside", "outside"),
    [
        ({"size": "small", "type": "instruct"}, "phi4-mini:3.8b", "phi4:14b"),
        ({"size": "small", "type": "instruct"}, "smollm2:135m", "deepseek-r1:1.5b"),
        ({"size": "medium"}, "phi4:14b", "phi4-mini:3.8b"),
        ({"type": "embedding"}, "nomic-embed-text:137m", "phi4:14b"),
        ({"format": "onnx"}, "phi4-mini:3.8b", "qwen3:8b"),
        ({"format": "ONNX", "device": "gpu"}, "phi4-mini:3.8b", "phi4:14b"),
        ({"prefix": "Microsoft/"}, "phi4-mini:3.8b", "qwen3:8b"),
        ({"prefix": "phi4"}, "phi4:14b", "phi3.5:3.8b"),
    ],
)
def test_filters(said: dict[str, str], inside: str, outside: str) -> None:
    assert inside in models(**said)
    assert outside not in models(**said)


def test_a_filter_leaves_the_variants_that_it_means() -> None:
    variants = models(format="onnx", device="cpu")["phi4-mini:3.8b"]["variants"]
    assert [(each["tag"], each["chosen"]) for each in variants] == [("onnx-cpu-int4", True)]


def test_nothing_is_for_an_npu() -> None:
    assert models(device="npu") == {}


@pytest.mark.parametrize("name_", ["size", "type", "format", "device"])
def test_an_unknown_word_is_refused(name_: str) -> None:
    with pytest.raises(BadInput, match=f"{name_} 'odd' is not known") as caught:
        Filter.parse({name_: "odd"})
    assert "Known are: " in caught.value.hint


def test_what_is_here_is_marked_by_name_or_by_what_it_is() -> None:
    here = (stored("phi4:mini", "Q4_K_M"), stored("phi4-mini:3.8b-q8_0", "Q8_0"), stored("all-minilm", "F16"))
    model = models(*here)["phi4-mini:3.8b"]
    assert model["installed"] == ["phi4:mini", "phi4-mini:3.8b-q8_0"]
    marked = {each["tag"]: each["installed"] for each in model["variants"] if each["installed"]}
    assert marked == {"q4_k_m": ["phi4:mini"], "q8_0": ["phi4-mini:3.8b-q8_0"]}
    assert models(*here)["all-minilm:22m"]["installed"] == ["all-minilm"]
    assert models(*here)["smollm2:135m"]["installed"] == []


def test_an_entry_without_a_card_is_listed_too() -> None:
    known = catalog.load(None, [layer(ENTRY)])
    listed = {each["name"]: each for each in told(known, [stored("pinned:1b")])["models"]}
    assert listed["pinned:1b"]["installed"] == ["pinned:1b"]
    (variant,) = listed["pinned:1b"]["variants"]
    assert (variant["size_bytes"], variant["is_size_exact"], variant["source"]) == (
        7,
        True,
        "https://models.example/pinned.gguf",
    )
    small = told(known, [], Filter(size="small"))["models"]
    assert "pinned:1b" not in [each["name"] for each in small]


@pytest.mark.parametrize(
    ("where", "origin"),
    [("/home/me/team.toml", "team.toml"), ("https://x.example/c.toml", "https://x.example/c.toml")],
)
def test_a_card_says_where_it_stands_without_its_folder(where: str, origin: str) -> None:
    known = catalog.load(None, [layer(CARD, where)])
    listed = {each["name"]: each["origin"] for each in told(known, [])["models"]}
    assert (listed["house:7b"], listed["phi4:14b"]) == (origin, "hutch")


def test_what_does_not_fit_is_said_so() -> None:
    tight = replace(OURS, machine=Machine(3 * 10**9))
    listed = {each["name"]: each for each in told(tight, [])["models"]}
    (chosen,) = [each for each in listed["phi4:14b"]["variants"] if each["chosen"]]
    assert chosen["fits"] is False
    assert any(each["fits"] for each in listed["smollm2:135m"]["variants"])
