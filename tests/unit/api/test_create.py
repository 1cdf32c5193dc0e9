"""`/api/create`'s body as a recipe, and what `/api/show` tells of what was made."""

from pathlib import Path
from typing import Any

import pytest

from hutch.api import ollama_show
from hutch.api.ollama_models import CreateBody
from hutch.core.errors import BadInput
from hutch.core.names import ModelName
from hutch.formats import modelfile
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests.unit.store.things import digest_of, model_bytes, statuses, store_in

_DIGEST = "sha256:" + "0" * 64


def recipe(**fields: Any) -> Recipe:
    return CreateBody.model_validate({"model": "x", "from": "base", **fields}).recipe()


def test_every_field_is_taken() -> None:
    files = {"a": _DIGEST}
    made = recipe(
        files=files,
        adapters=files,
        draft_files=files,
        documents=files,
        license="MIT",
        renderer="",
        parser="qwen3",
        requires="0.1",
        info={"base_name": "b"},
        parameters={"context_length": 64, "mirostat": 1, "stop": "x"},
    )
    pairs = (("a", _DIGEST),)
    assert made == Recipe(
        ModelName.parse("base"),
        pairs,
        pairs,
        pairs,
        pairs,
        parameters={"num_ctx": 64, "stop": ("x",)},
        licenses=("MIT",),
        renderer="",
        parser="qwen3",
        requires="0.1",
        info={"base_name": "b"},
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": {"flux": 1}}, "unknown parameter 'flux'"),
        ({"parameters": {"num_ctx": "many"}}, 'option "num_ctx" must be of type integer'),
        ({"parameters": {"context_length": 0}}, 'option "num_ctx" must be between 1 and'),
        ({"documents": {"a": "sha256:0"}}, "invalid digest format"),
        ({"adapters": {"a": "../x"}}, "invalid digest format"),
        ({"remote_host": "https://example.org"}, "remote_host: Hutch has no remote models"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        recipe(**fields)


def sent(store: ModelStore, data: bytes) -> tuple[tuple[str, str], ...]:
    store.import_blob([data], digest_of(data))
    return ((digest_of(data)[7:15], digest_of(data)),)


def test_show_tells_all_and_its_modelfile_reads_back(tmp_path: Path) -> None:
    store = store_in(tmp_path / "models")
    text = 'first """quoted"""\nlast "'
    whole = Recipe(
        files=sent(store, model_bytes()) + sent(store, model_bytes(1, 0, **{"general.architecture": "clip"})),
        adapters=sent(store, model_bytes(2, 0, **{"general.type": "adapter"})),
        drafts=sent(store, model_bytes(3)),
        documents=(("guide.txt", sent(store, b"Known.")[0][1]),),
        system=text,
        messages=({"role": "user", "content": text},),
        licenses=("MIT",),
        parameters={"stop": ["a", "b"]},
        renderer="qwen3-coder",
        parser="qwen3",
        requires="0.14.0",
    )
    statuses(store.create(ModelName.parse("made"), whole))
    made = store.open(ModelName.parse("made"))
    told = ollama_show.description(made, verbose=True)
    assert told["projector_info"]["general.architecture"] == "clip"
    assert told["documents"] == [{"name": "guide.txt", "size": 6}]
    assert (told["renderer"], told["parser"], told["requires"]) == ("qwen3-coder", "qwen3", "0.14.0")
    assert told["messages"] == [{"role": "user", "content": text}]
    assert {"name", "type", "shape"} == set(told["tensors"][0])
    said = modelfile.parse(told["modelfile"].encode())
    assert said.sources == tuple(map(str, (*made.weights, *made.projectors)))
    assert (said.adapter, said.draft) == (str(made.adapters[0]), str(made.drafts[0]))
    assert (said.system, said.messages, said.licenses) == (text, made.messages, ("MIT",))
    assert (said.renderer, said.parser, said.requires) == ("qwen3-coder", "qwen3", "0.14.0")
    assert dict(said.documents) == {"guide.txt": str(made.documents[0].path)}
    assert dict(said.parameters) == {"stop": ["a", "b"]}
