"""ONNX models in the store: made of folders, derived, copied, told about, removed."""

import json
from pathlib import Path
from typing import Any

import pytest

from hutch.api import ollama_show
from hutch.cli import create
from hutch.cli import folder as folders
from hutch.core.errors import BadInput, Conflict, FormatError
from hutch.formats import modelfile
from hutch.store import layout, manifests
from hutch.store.manifests import OCI_MANIFEST_TYPE, ONNX_TYPE
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests.onnx_files import write_encoder, write_llama
from tests.unit.store.things import add_model, aged, blob_names, digest_of, name, statuses, store_in

FILES = ("model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "llama")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return store_in(tmp_path / "models")


def sent(store: ModelStore, folder: Path) -> tuple[tuple[str, str], ...]:
    """Have a folder's files as blobs, as the command line and clients of the API do."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        store.import_blob([data], digest_of(data))
        found.append((path.relative_to(folder).as_posix(), digest_of(data)))
    return tuple(found)


def make(store: ModelStore, folder: Path, text: str = "tiny", **said: Any) -> list[str]:
    """Create a model of a folder's files."""
    return statuses(store.create(name(text), Recipe(files=sent(store, folder), **said)))


def test_a_folder_becomes_a_model_with_a_layer_for_each_file(store: ModelStore, folder: Path) -> None:
    (folder / "notes.md").write_text("nothing that a runtime reads")
    told = make(store, folder, system="Be short.", parameters={"temperature": 0.5})
    assert told[0] == "checking ONNX"
    model = store.open(name("tiny"))
    assert model.weights == ()
    assert tuple(file.name for file in model.files) == FILES
    assert all(file.path.read_bytes() == (folder / file.name).read_bytes() for file in model.files)
    assert (model.system, model.parameters) == ("Be short.", {"temperature": 0.5})
    details = model.stored.details
    assert (*details[:3], details.quantization_level) == ("onnx", "llama", ("llama",), "fp32")
    document = json.loads(manifests.read_bytes(store.root, model.name))
    assert document["mediaType"] == OCI_MANIFEST_TYPE
    layers = [layer for layer in document["layers"] if layer["mediaType"] == ONNX_TYPE]
    assert [layer["annotations"] for layer in layers] == [
        {"org.opencontainers.image.title": file} for file in FILES
    ]
    assert "notes.md" not in str(document)
    assert (
        len(blob_names(store)) == len(FILES) + 3
    )  # a system, parameters, a config; the notes went with the job


def test_the_same_folder_gives_the_same_digest(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    make(store, folder)
    other = store_in(tmp_path / "other")
    make(other, folder, "else")
    assert store.list()[0].digest == other.list()[0].digest


def test_files_may_lie_in_a_folder_of_their_own(store: ModelStore, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    write_llama(outer / "cpu")
    make(store, outer)
    assert tuple(file.name for file in store.open(name("tiny")).files) == FILES


def test_an_encoder_becomes_a_model(store: ModelStore, tmp_path: Path) -> None:
    make(store, write_encoder(tmp_path / "e"))
    assert store.open(name("tiny")).stored.details[:2] == ("onnx", "bert")


def test_a_model_is_derived_copied_and_removed(store: ModelStore, folder: Path) -> None:
    make(store, folder, licenses=("free",))
    statuses(store.create(name("short"), Recipe(from_model=name("tiny"), system="x", licenses=("free",))))
    derived = store.open(name("short"))
    assert [file.name for file in derived.files] == list(FILES)
    assert (derived.system, derived.licenses) == ("x", ("free",))
    assert derived.stored.details.parent_model == "tiny:latest"
    store.copy(name("short"), name("other"))
    store.delete(name("tiny"))
    assert [file.name for file in store.open(name("other")).files] == list(FILES)
    for text in ("short", "other"):
        store.delete(name(text))
    assert blob_names(store) == []


def test_what_nobody_needs_is_pruned(store: ModelStore, folder: Path) -> None:
    make(store, folder)
    layout.manifest_path(store.root, name("tiny")).unlink()
    for blob in store.root.glob("blobs/*"):
        aged(blob)
    assert len(store.prune(store.prune_plan())) == len(FILES) + 1


def test_show_tells_about_it_and_its_modelfile_makes_it_again(store: ModelStore, folder: Path) -> None:
    make(store, folder, system="Be short.", licenses=("free",), parameters={"stop": ["a", "b"]})
    before = store.open(name("tiny"))
    told = ollama_show.description(before, verbose=True)
    assert told["details"]["format"] == "onnx"
    assert told["details"]["context_length"] == 512
    assert told["model_info"]["llama.attention.head_count_kv"] == 2
    assert told["capabilities"] == ["completion"]
    assert {each["name"] for each in told["tensors"]} > {"embed_tokens.weight", "lm_head.weight"}
    said = modelfile.parse(told["modelfile"].encode())
    model, files = create.resolved(said, folder)
    body = create.body("tiny", said, model, {})
    assert model == "tiny:latest"
    assert files == {"files": {}, "documents": {}}
    recipe = Recipe(
        from_model=name(body["from"]),
        system=body["system"],
        licenses=tuple(body["license"]),
        parameters=body["parameters"],
    )
    statuses(store.create(name("again"), recipe))
    after = store.open(name("again"))
    assert (after.files, after.licenses, after.parameters, after.system) == (
        *(before.files, before.licenses, before.parameters, before.system),
    )


def test_a_folder_is_pulled_from_its_path(store: ModelStore, folder: Path) -> None:
    statuses(store.pull(None, str(folder)))
    assert store.list()[0].name.short == "llama:latest"
    (folder / "genai_config.json").write_text((folder / "genai_config.json").read_text() + " ")
    with pytest.raises(Conflict):
        statuses(store.pull(name("llama"), str(folder)))


def test_what_does_not_go_with_onnx_is_refused(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    make(store, folder)
    weights = add_model(store, "gguf")
    files = (("x.gguf", weights),)
    wrong: tuple[tuple[Recipe, str], ...] = (
        (Recipe(from_model=name("tiny"), files=files), "takes no model in GGUF format"),
        (Recipe(from_model=name("tiny"), drafts=files), "takes no draft in GGUF format"),
        (Recipe(from_model=name("gguf"), files=sent(store, folder)), "one base"),
        (Recipe(from_model=name("tiny"), files=sent(store, folder)), "one base"),
        (Recipe(from_model=name("tiny"), quantize="q4_0"), "one GGUF file"),
    )
    for recipe, why in wrong:
        with pytest.raises(BadInput, match=why):
            statuses(store.create(name("wrong"), recipe))


def test_a_hostile_folder_leaves_nothing_behind(store: ModelStore, folder: Path) -> None:
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["filename"] = "../../../etc/passwd"
    (folder / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match="no name of a file in the folder"):
        make(store, folder)
    assert blob_names(store) == []
    assert store.list() == []


@pytest.mark.parametrize("title", ["../x", "/x", "a/../../x", "", "model.onnx.data"])
def test_a_manifest_cannot_name_a_file_outside_the_folder(
    store: ModelStore, folder: Path, title: str
) -> None:
    make(store, folder)
    path = layout.manifest_path(store.root, name("tiny"))
    document = json.loads(path.read_bytes())
    document["layers"][0]["annotations"]["org.opencontainers.image.title"] = title
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError):
        store.open(name("tiny"))


@pytest.mark.parametrize("notes", [None, [], "x", {"org.opencontainers.image.title": 7}])
def test_a_manifest_without_names_is_refused(store: ModelStore, folder: Path, notes: Any) -> None:
    make(store, folder)
    path = layout.manifest_path(store.root, name("tiny"))
    document = json.loads(path.read_bytes())
    document["layers"][0]["annotations"] = notes
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError):
        store.open(name("tiny"))


def test_the_command_line_sends_what_a_folder_needs(folder: Path) -> None:
    (folder / "README.md").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    assert tuple(folders.files_of(folder)) == FILES


def test_the_command_line_follows_no_link_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes((folder / "tokenizer.json").read_bytes())
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput, match="leads out of"):
        folders.files_of(folder)


def test_a_folder_with_safetensors_too_is_what_it_was_published_as(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "e")
    (folder / "model.safetensors").write_bytes(b"x")
    assert "model.safetensors" in folders.files_of(folder)
