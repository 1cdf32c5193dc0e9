"""The recipes and what `--format` and `--quant` leave of them."""

import pytest

from hutch.core.errors import BadInput
from hutch.optimize import recipes
from hutch.optimize.recipes import Recipe

_ALL = recipes.for_weights(recipes.ggml_types(has_binary=True))


def names(found: tuple[Recipe, ...]) -> list[str]:
    return [each.name for each in found]


def test_a_quant_means_one_recipe() -> None:
    assert names(recipes.only(_ALL, "onnx", "int4")) == ["onnx-int4"]
    assert names(recipes.only(_ALL, "", "q8_0")) == ["gguf-q8_0"]


def test_a_format_alone_leaves_all_of_it() -> None:
    found = recipes.only(_ALL, "gguf", "")
    assert names(found) == ["gguf-q8_0", "gguf-q4_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m"]


def test_names_and_what_results_depend_on_are_unique() -> None:
    assert len({each.name for each in _ALL}) == len(_ALL)
    assert len({str(each.spec) for each in _ALL}) == len(_ALL)


def test_a_variant_that_cannot_be_made_is_refused_with_those_that_can() -> None:
    with pytest.raises(BadInput) as caught:
        recipes.only(_ALL, "gguf", "int4")
    assert "--format onnx --quant int4" in caught.value.hint


def test_a_quantised_graph_is_not_quantised_again() -> None:
    assert names(recipes.for_graph(is_float=False)) == ["onnx-optimized"]
