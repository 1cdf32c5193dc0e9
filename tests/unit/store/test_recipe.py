"""What stands beside a model: adapters, drafts, projectors, and what its config tells."""

from typing import Any

import pytest

from hutch.core.errors import BadInput, FormatError, NotFound
from hutch.store import layout, listing
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests import gguf_files
from tests.unit.store.things import TINY, add_model, digest_of, model_bytes, name, statuses

_AN_ADAPTER: dict[str, Any] = {"general.type": "adapter"}
_A_PROJECTOR: dict[str, Any] = {"general.architecture": "clip"}
_ADAPTER = model_bytes(1, **_AN_ADAPTER)
_PROJECTOR = model_bytes(2, **_A_PROJECTOR)
_DRAFT = model_bytes(3)


def sent(store: ModelStore, data: bytes) -> tuple[tuple[str, str], ...]:
    store.import_blob([data], digest_of(data))
    return (("given.gguf", digest_of(data)),)


def make(store: ModelStore, text: str = "made", base: str = "tiny", **parts: Any) -> list[str]:
    return statuses(store.create(name(text), Recipe(name(base), **parts)))


def test_adapter_draft_and_projector_become_layers_that_a_model_tells(store: ModelStore) -> None:
    add_model(store)
    files, adapters, drafts = (sent(store, data) for data in (_PROJECTOR, _ADAPTER, _DRAFT))
    assert "parsing GGUF" in make(store, files=files, adapters=adapters, drafts=drafts)
    opened = store.open(name("made"))
    found = (opened.projectors, opened.adapters, opened.drafts)
    assert found == tuple(
        (layout.blob_path(store.root, digest_of(d)),) for d in (_PROJECTOR, _ADAPTER, _DRAFT)
    )
    assert opened.stored.details.family == "llama"
    assert not opened.unsupported_layers
    make(store, "next", "made", adapters=sent(store, model_bytes(4, **_AN_ADAPTER)))
    opened = store.open(name("next"))
    assert (len(opened.adapters), opened.drafts != (), opened.projectors != ()) == (1, True, True)
    assert opened.adapters != found[1]


@pytest.mark.parametrize(
    ("field", "data", "message"),
    [
        ("adapters", _DRAFT, "adapter given.gguf: is a GGUF file of kind model"),
        ("adapters", _PROJECTOR, "adapter given.gguf: is a GGUF file of kind projector"),
        ("drafts", _ADAPTER, "draft given.gguf: is a GGUF file of kind adapter"),
        ("files", _DRAFT, "a model is made of one GGUF file of weights"),
        ("adapters", b"GGUF", "the version ends at byte 8, but the file has 4"),
    ],
)
def test_a_file_of_another_kind_is_refused(store: ModelStore, field: str, data: bytes, message: str) -> None:
    add_model(store)
    parts: dict[str, Any] = {field: sent(store, data)}
    with pytest.raises(BadInput, match=message):
        make(store, **parts)


@pytest.mark.parametrize("key", ["tokenizer.ggml.model", "tokenizer.ggml.tokens"])
def test_a_model_without_a_tokenizer_is_refused_before_it_has_a_name(store: ModelStore, key: str) -> None:
    data = gguf_files.tiny_model({key: None})
    with pytest.raises(FormatError, match=f"has no tokenizer: {key} is missing"):
        statuses(store.create(name("made"), Recipe(None, files=sent(store, data))))
    assert store.list() == []


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"adapters": (("a", "x"), ("b", "y"))}, "only one adapter is currently supported"),
        ({"drafts": (("a", "x"), ("b", "y"))}, "only one draft is currently supported"),
        ({"files": (("/etc/passwd", "x"),)}, "file path must be relative"),
        ({"adapters": (("a/../../b", "x"),)}, "file path must be relative"),
        ({"draft_quantize": "q8_0"}, "--draft-quantize requires a DRAFT model"),
        ({"renderer": "nix"}, "renderer: 'nix' is not known"),
        ({"parser": "qwen3.8"}, "parser: 'qwen3.8' is not known"),
        ({"requires": "1.0.0"}, "requires version 1.0.0 of Ollama's API"),
        ({"requires": "new"}, "requires must be a valid semver"),
        ({"info": {"colour": "red"}}, "info.colour is not known"),
        ({"info": {"context_length": True}}, "info.context_length must be a whole number"),
        ({"info": {"capabilities": ["a", 1]}}, "info.capabilities must be a list of texts"),
        ({"info": {"base_name": "x" * 300}}, "info.base_name must be a text, and short"),
    ],
)
def test_what_cannot_be_is_refused(store: ModelStore, parts: dict[str, Any], message: str) -> None:
    add_model(store)
    with pytest.raises(BadInput, match=message):
        make(store, **parts)


@pytest.mark.parametrize("field", ["files", "adapters", "drafts", "documents"])
def test_a_blob_that_is_not_there_is_told_before_anything_is_done(store: ModelStore, field: str) -> None:
    add_model(store)
    parts: dict[str, Any] = {field: (("a.txt", f"sha256:{'0' * 64}"),)}
    with pytest.raises(NotFound, match=r'^blob "sha256:0+" not found$') as caught:
        next(store.create(name("made"), Recipe(name("tiny"), **parts)))
    assert caught.value.hint == "Send the bytes of 'a.txt' first."


def test_names_of_ollamas_code_are_kept_with_a_warning(store: ModelStore) -> None:
    add_model(store)
    told = make(store, renderer="qwen3-coder", parser="harmony", requires="0.14.0")
    assert (
        "warning: renderer qwen3-coder is kept for Ollama; in Hutch the template inside the model's file makes its prompts, or TEMPLATE where it has none"
        in told
    )
    assert any(each.startswith("warning: parser harmony") for each in told)
    opened = store.open(name("made"))
    assert (opened.renderer, opened.parser, opened.requires) == ("qwen3-coder", "harmony", "0.14.0")
    make(store, "next", "made", renderer="", requires="")
    opened = store.open(name("next"))
    assert (opened.renderer, opened.parser, opened.requires) == ("", "harmony", "")


def test_info_is_what_a_listing_tells(store: ModelStore) -> None:
    add_model(store)
    make(
        store,
        info={
            "model_family": "mine",
            "parameter_size": "1B",
            "quantization_level": "Q9",
            "context_length": 8,
        },
    )
    details = listing.read(store.root).models[0].details
    assert (details.family, details.parameter_size, details.quantization_level) == ("mine", "1B", "Q9")
    assert store.open(TINY).stored.details.family == "llama"
