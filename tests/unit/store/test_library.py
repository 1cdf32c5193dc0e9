"""The models that Hutch knows: every name leads to its model, every tag to one variant, and the data keep their word."""

from collections import Counter
from dataclasses import replace

import pytest

from hutch.core.names import DEFAULT_HOST, ModelName, Reference
from hutch.runtime import launch
from hutch.store import cards, catalog, pull
from hutch.store.cards import Card, Variant
from hutch.store.fitting import Machine
from hutch.store.wanted import Registry, Wanted
from tests.unit.store.things import name

OURS = catalog.load()
ALIASES = [pytest.param(card, known, id=known.short) for card in OURS.cards for known in card.names]
VARIANTS = [
    pytest.param(card, variant, id=next(card.names_of(variant)).short)
    for card in OURS.cards
    for variant in card.variants
]


def meant(known: ModelName) -> Wanted:
    """What would be fetched for a name."""
    found = OURS.find(known) or OURS.chosen(known)
    assert found is not None
    return found


@pytest.mark.parametrize(("card", "known"), ALIASES)
def test_every_alias_resolves_to_its_own_model(card: Card, known: ModelName) -> None:
    assert [each for each in OURS.cards if each.selected(known)] == [card]
    assert meant(known)
    assert meant(ModelName(*(part.upper() for part in known)))


@pytest.mark.parametrize(("card", "variant"), VARIANTS)
def test_every_variant_has_a_name_of_its_own_under_every_alias(card: Card, variant: Variant) -> None:
    for full in card.names_of(variant):
        assert [each.selected(full) for each in OURS.cards if each.selected(full)] == [(variant,)]
        wanted = meant(full)
        if variant.entry is not None:
            assert wanted.digest == OURS.entries[variant.entry].digest
        else:
            assert Reference.parse(wanted.location) == Reference.parse(variant.source)
            assert wanted.folder == variant.folder


def test_no_name_and_no_source_stands_twice() -> None:
    names = [
        full.short.lower() for card in OURS.cards for each in card.variants for full in card.names_of(each)
    ]
    names += [known.short.lower() for card in OURS.cards for known in card.names]
    assert [each for each, count in Counter(names).items() if count > 1] == []
    sources = [(each.source, each.folder, each.entry) for card in OURS.cards for each in card.variants]
    assert [each for each, count in Counter(sources).items() if count > 1] == []


@pytest.mark.parametrize(("card", "variant"), VARIANTS)
def test_only_what_was_fetched_is_said_to_have_been(card: Card, variant: Variant) -> None:
    assert (variant.checked == "pulled") == variant.is_pinned
    assert variant.size_bytes < card.num_parameters * 4.5
    if variant.entry is not None:
        assert OURS.entries[variant.entry].size_bytes == variant.size_bytes
    else:
        assert "@" not in variant.source  # no digest was ever seen
        assert (variant.format == "onnx") == variant.source.startswith("hf.co/")


@pytest.mark.parametrize(("card", "variant"), VARIANTS)
def test_the_number_format_fits_the_size(card: Card, variant: Variant) -> None:
    least, most = {"F16": (15, 18), "Q8_0": (8, 10.5)}.get(variant.quantization, (4, 17))
    assert least <= variant.size_bytes * 8 / card.num_parameters <= most


@pytest.mark.parametrize(
    ("said", "location"),
    [
        ("qwen2.5:3b", "qwen2.5:3b"),
        ("phi4:mini", "phi4-mini:3.8b-q4_K_M"),
        ("phi4:mini-f16", "phi4-mini:3.8b-fp16"),
        ("phi4:mini-fp16", "phi4-mini:3.8b-fp16"),
        ("phi4:mini-q8_0", "phi4-mini:3.8b-q8_0"),
        ("phi4:mini-q4_k_m", "phi4-mini:3.8b-q4_K_M"),
        ("phi4:mini-Q4_K_M", "phi4-mini:3.8b-q4_K_M"),
        ("phi4-mini:3.8b-q4_K_M", "phi4-mini:3.8b-q4_K_M"),
        ("phi4:mini-gguf", "phi4-mini:3.8b-q4_K_M"),
        ("microsoft/phi-4-mini", "phi4-mini:3.8b-q4_K_M"),
        ("microsoft/phi-4-mini:q8_0", "phi4-mini:3.8b-q8_0"),
        ("microsoft/phi-4-mini:onnx", "hf.co/microsoft/Phi-4-mini-instruct-onnx"),
        ("deepseek/r1-distill-qwen-1.5b", "deepseek-r1:1.5b"),
    ],
)
def test_names_of_both_styles_mean_what_people_expect(said: str, location: str) -> None:
    assert Reference.parse(meant(name(said)).location) == Reference.parse(location)


def test_the_choice_is_told_and_what_will_hardly_load_is_warned_of() -> None:
    roomy = replace(OURS, machine=Machine(16 * 10**9)).chosen(name("phi4:mini"))
    tight = replace(OURS, machine=Machine(2 * 10**9)).chosen(name("phi4:mini"))
    assert roomy is not None
    assert tight is not None
    assert roomy.remarks == (
        "phi4:mini: q4_k_m, GGUF from registry.ollama.ai/library/phi4-mini:3.8b-q4_K_M, about 2.5 GB: the usual variant",
        "it needs about 4.8 GB of memory",
    )
    assert tight.remarks[1] == (
        "warning: it needs about 4.8 GB of memory, and this machine has 1.8 GB for it: it will hardly load"
    )


def test_a_mirror_stands_for_ollamas_registry_alone() -> None:
    mirrored = replace(OURS, registry=Registry("mirror.example", is_plain=True))
    found, other = mirrored.chosen(name("phi4:mini")), mirrored.chosen(name("phi4:mini-onnx"))
    assert found is not None
    assert other is not None
    assert (found.location, found.is_plain) == ("mirror.example/library/phi4-mini:3.8b-q4_K_M", True)
    assert (other.location.partition("/")[0], other.is_plain) == ("hf.co", False)
    for said, host in (("mine", "mirror.example"), ("other.example/a/b", "other.example")):
        _, wanted = pull.choose(name(said), None, lambda: mirrored)
        assert (wanted.location.partition("/")[0], wanted.is_plain) == (host, host == "mirror.example")


def test_a_digest_pins_what_the_registry_has_under_the_name_that_is_meant() -> None:
    digest = f"sha256:{'0' * 64}"
    for said, location in (
        ("phi4:mini-q8_0", f"registry.ollama.ai/library/phi4-mini:3.8b-q8_0@{digest}"),
        ("smollm2:135m", f"registry.ollama.ai/library/smollm2:135m@{digest}"),
        ("mine", f"registry.ollama.ai/library/mine:latest@{digest}"),
    ):
        chosen, wanted = pull.choose(name(said), None, lambda: OURS, digest)
        assert (chosen, wanted.location) == (name(said), location)


@pytest.mark.parametrize(
    "said", ["phi4:mini-q5_0", "llama3.2:90b", "nosuch", "other/phi-4-mini", "phi4:minimal"]
)
def test_other_names_are_left_to_the_registry(said: str) -> None:
    assert OURS.find(name(said)) is None
    assert OURS.chosen(name(said)) is None


@pytest.mark.parametrize("family", ["llama3.2", "gemma2", "gemma3", "phi4", "phi4-mini", "qwen2.5", "qwen3"])
def test_the_families_are_there(family: str) -> None:
    assert any(card.names[0].model == family for card in OURS.cards)


@pytest.mark.parametrize(
    ("said", "suggested"),
    [
        ("ph4:mini", "phi4:mini"),
        ("phi4:mini-q4km", "phi4:mini-q4_k_m"),
        ("microsft/phi-4-mini", "microsoft/phi-4-mini"),
        ("lama3.2", "llama3.2"),
        ("smolm2:135m", "smollm2:135m"),
    ],
)
def test_a_typo_gets_the_nearest_name(said: str, suggested: str) -> None:
    assert f"Did you mean {suggested}" in OURS.hint(name(said))


def test_a_name_that_is_like_no_other_gets_none() -> None:
    assert "Did you mean" not in OURS.hint(name("zzzzzzzz"))
    assert "Known without a registry: all-minilm:latest" in OURS.hint(name("zzzzzzzz"))
    assert OURS.hint(name("bge-m3:some-quite-other-tag")).startswith("The catalog has bge-m3:567m as f16. ")


def test_the_memory_is_that_of_a_default_launch() -> None:
    assert cards.NUM_CTX == launch._DEFAULT_NUM_CTX
    assert cards.NUM_PARALLEL == launch._DEFAULT_NUM_PARALLEL
    assert cards.OVERHEAD_BYTES == launch._OVERHEAD_BYTES


def test_nothing_comes_from_a_host_that_nobody_expects() -> None:
    hosts = {Reference.parse(each.source).name.host for c in OURS.cards for each in c.variants if each.source}
    assert hosts == {DEFAULT_HOST, "hf.co"}
