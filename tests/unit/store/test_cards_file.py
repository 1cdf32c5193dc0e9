"""Cards in a catalog of one's own: merged over ours, and refused with their line where they are wrong."""

from pathlib import Path

import pytest

from hutch.core.errors import FormatError
from hutch.store import catalog
from hutch.store.catalog import Layer
from hutch.store.toml_lines import line_of
from tests.unit.store.things import name

HEX = "0" * 64
CARD = """
[[models]]
name = "house:7b"
aliases = ["acme/house-7b"]
publisher = "acme"
title = "House"
type = "instruct"
num_parameters = 7_000_000_000
context_length = 8192
license = "proprietary"
capabilities = ["completion"]
variants = [
  { tag = "q4_k_m", pull = "registry.acme.example/models/house:7b-q4", size_bytes = 4_000_000_000 },
  { tag = "q8_0", pull = "registry.acme.example/models/house:7b-q8", size_bytes = 7_000_000_000 },
]
"""
TABLES = (
    CARD.partition("variants = [")[0]
    + """
[[models.variants]]
tag = "q4_k_m"
pull = "registry.acme.example/models/house:7b-q4"
size_bytes = 4_000_000_000

[[models.variants]]
tag = "q8_0"
pull = "registry.acme.example/models/house:7b-q8"
size_bytes = 7_000_000_000
"""
)
ENTRY = f"""
["pinned:1b"]
kind = "https"
url = "https://models.example/pinned.gguf"
sha256 = "{HEX}"
size_bytes = 7
"""


def layer(text: str, where: str = "acme.toml") -> Layer:
    return catalog.parse(text.encode(), where)


@pytest.mark.parametrize("text", [CARD, TABLES])
def test_a_card_adds_a_model(text: str) -> None:
    known = catalog.load(None, [layer(text)])
    for said, location in (
        ("house:7b", "7b-q4"),
        ("acme/house-7b", "7b-q4"),
        ("ACME/house-7b:Q8_0", "7b-q8"),
        ("house:7b-q8_0", "7b-q8"),
    ):
        found = known.chosen(name(said))
        assert found is not None
        assert found.location == f"registry.acme.example/models/house:{location}"
    assert known.chosen(name("phi4:mini")) is not None
    assert known.cards[0].origin == "acme.toml"


def test_a_name_that_is_taken_over_means_nothing_of_ours_any_more() -> None:
    known = catalog.load(None, [layer(CARD.replace("acme/house-7b", "phi4:mini"))])
    found = known.chosen(name("phi4:mini"))
    assert found is not None
    assert found.location.endswith("house:7b-q4")
    assert known.chosen(name("phi4:mini-f16")) is None  # ours does not shine through
    other = known.chosen(name("microsoft/phi-4-mini:f16"))
    assert other is not None
    assert other.location.endswith("phi4-mini:3.8b-fp16")


def test_an_entry_that_is_taken_over_is_no_variant_of_ours_any_more() -> None:
    known = catalog.load(None, [layer(ENTRY.replace("pinned:1b", "SMOLLM2:135m"))])
    assert known.find(name("smollm2:135m")).location == "https://models.example/pinned.gguf"  # type: ignore[union-attr]
    other = known.chosen(name("huggingfacetb/smollm2-135m"))
    assert other is not None
    assert other.location.endswith("smollm2:135m-instruct-q4_K_M")


def test_layers_lie_over_each_other_in_their_order_and_the_users_on_top(tmp_path: Path) -> None:
    one, two = layer(CARD), layer(CARD.replace("models/house", "second/house"))
    assert catalog.load(None, [one, two]).chosen(name("house:7b")).location.endswith("second/house:7b-q4")  # type: ignore[union-attr]
    users = tmp_path / "catalog.toml"
    users.write_text(CARD.replace("models/house", "mine/house"))
    assert catalog.load(users, [one, two]).chosen(name("house:7b")).location.endswith("mine/house:7b-q4")  # type: ignore[union-attr]


def test_a_variant_may_be_what_an_entry_pins() -> None:
    text = ENTRY + CARD.replace('pull = "registry.acme.example/models/house:7b-q4"', 'entry = "pinned:1b"')
    found = catalog.load(None, [layer(text)]).chosen(name("house:7b"))
    assert found is not None
    assert (found.kind, found.digest) == ("https", f"sha256:{HEX}")
    with pytest.raises(FormatError, match=r"acme.toml: house:7b: q4_k_m: there is no entry pinned:1b"):
        catalog.load(None, [layer(text.partition("[[models]]")[2].join(("[[models]]", "")))])


def test_a_manifest_may_be_pinned() -> None:
    text = CARD.replace("house:7b-q4", f"house@sha256:{HEX}")
    found = catalog.load(None, [layer(text)]).chosen(name("house:7b"))
    assert found is not None
    assert found.location == f"registry.acme.example/models/house:latest@sha256:{HEX}"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"instruct"', '"chat"', r"line 7: model house:7b: type: "),
        ("7_000_000_000\ncontext", '"7"\ncontext', r"line 8: model house:7b: num_parameters: "),
        ("context_length = 8192", "context_length = 8192\nmore = 1", r"line 10: model house:7b: more: "),
        ('"completion"', '"mind reading"', r"line 11: model house:7b: capabilities"),
        ('tag = "q8_0"', 'tag = "../x"', r"line 14: model house:7b: variants.1.tag: "),
        ('tag = "q8_0"', 'tag = "q4_k_m"', r"line 12: .*variants: the tag 'q4_k_m' stands twice"),
        ('tag = "q8_0"', 'tag = "onnx"', r"line 14: .*the tag 'onnx' means something else"),
        (
            '"registry.acme.example/models/house:7b-q8"',
            '"file:///etc/passwd"',
            r"line 14: .*variants.1.pull: ",
        ),
        ('"registry.acme.example/models/house:7b-q8"', '"/etc/passwd"', r"line 14: .*variants.1.pull: "),
        (
            '"registry.acme.example/models/house:7b-q8"',
            '"https://x.example/y.gguf"',
            r"line 14: .*variants.1.pull",
        ),
        ('pull = "registry.acme.example/models/house:7b-q8",', "", r"line 14: .*either pull or entry"),
        ("size_bytes = 7_000_000_000", "size_bytes = 0", r"line 14: .*variants.1.size_bytes"),
        ("size_bytes = 7_000_000_000", 'size_bytes = 7, folder = "../up"', r"line 14: .*variants.1.folder"),
        ("size_bytes = 7_000_000_000", 'size_bytes = 7, folder = "cpu"', r"line 14: .*Hugging Face"),
        (
            "size_bytes = 7_000_000_000",
            'size_bytes = 7, format = "onnx"',
            r"line 14: .*needs quantization and",
        ),
        ('"acme/house-7b"', '"../house"', r"line 4: model house:7b: aliases: invalid model name"),
        ('"acme/house-7b"', '"HOUSE:7b", "HOUSE:7b"', r"line 2: .*the name HOUSE:7b stands twice"),
        ('title = "House"', 'title = "\\u001b[2Jgone"', r"line 6: model house:7b: title: "),
        ('name = "house:7b"', "", r"line 2: model 1: name: Field required"),
        ("[[models]]", "[models]", r"line 2: models must be a list"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(old: str, new: str, words: str) -> None:
    assert old in CARD
    with pytest.raises(FormatError, match=rf"^acme\.toml: {words}") as caught:
        layer(CARD.replace(old, new))
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_the_examples_of_the_documentation_are_right() -> None:
    page = (Path(__file__).parents[3] / "docs/catalog.md").read_text(encoding="utf-8")
    examples = [each.partition("```")[0] for each in page.split("```toml\n")[1:]]
    whole = [layer(each) for each in examples if "hutch.toml" not in each]
    assert [len(each.cards) + len(each.entries) for each in whole] == [1, 1]


def test_two_cards_of_one_name_are_refused_and_the_second_has_the_line() -> None:
    with pytest.raises(FormatError, match=r"line 17: the name house:7b stands twice"):
        layer(CARD + CARD)


@pytest.mark.parametrize(
    "text",
    [
        "models = " + "[" * 5000,
        "[[models]]\nname = '''" + "x" * 100_000 + "'''",
        "models = 7",
        "models = [7]",
        'models = ["x"]',
        "[[models]]",
        "\x00",
        "[models.variants]\nx = 1",
        "x = {name = 1}",
    ],
)
def test_odd_files_are_refused_in_short_words(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        layer(text)
    assert len(caught.value.message) < 400
    assert caught.value.hint


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("models",), 2),
        (("models", 0), 2),
        (("models", 0, "title"), 6),
        (("models", 0, "variants"), 12),
        (("models", 0, "variants", 1), 14),
        (("models", 0, "variants", 1, "tag"), 14),
        (("models", 0, "nosuch"), 2),
        (("models", 9, "title"), 2),
        (("nosuch",), 1),
    ],
)
def test_a_place_has_a_line(place: tuple[str | int, ...], line: int) -> None:
    assert line_of(CARD, place) == line


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("models", 0, "variants", 1, "tag"), 19),
        (("models", 0, "variants", 0), 13),
        (("pinned:1b", "url"), 25),
        (("models", 1, "title"), 33),
    ],
)
def test_tables_of_tables_have_lines_too(place: tuple[str | int, ...], line: int) -> None:
    text = TABLES + ENTRY + CARD
    found = text.splitlines()[line_of(text, place) - 1]
    assert (line_of(text, place), found.split()[0]) == (line, found.split()[0])
