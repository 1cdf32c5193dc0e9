"""Manifests, good and hostile."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.errors import BadInput, FormatError
from hutch.core.names import ModelName
from hutch.store import layout, manifests
from hutch.store.manifests import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Layer
from tests.unit.store.things import name

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def document(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": OTHER, "size": 2},
        "layers": [layer()],
        **changes,
    }


def layer(**changes: Any) -> dict[str, Any]:
    return {"mediaType": LAYER_TYPE + "model", "digest": DIGEST, "size": 1, **changes}


def parse(value: object) -> manifests.Manifest:
    return manifests.parse(json.dumps(value).encode(), "here")


def test_reads_what_ollama_writes() -> None:
    found = parse(document(layers=[layer(**{"from": "llama3.2:latest", "digest": DIGEST.replace(":", "-")})]))
    assert found.layers == (Layer(LAYER_TYPE + "model", DIGEST, 1, "llama3.2:latest"),)
    assert found.layers[0].kind == "model"
    assert found.size_bytes == 3
    assert found.digests == {DIGEST, OTHER}


def test_writes_what_it_reads_with_keys_in_ollamas_order() -> None:
    config = Layer(CONFIG_TYPE, OTHER, 2)
    layers = (Layer(LAYER_TYPE + "model", DIGEST, 1, "base:latest"), Layer(LAYER_TYPE + "system", OTHER, 2))
    data = manifests.render(config, layers)
    found = manifests.parse(data, "here")
    assert (found.config, found.layers) == (config, layers)
    assert found.digest == hashlib.sha256(data).hexdigest()
    assert list(json.loads(data)) == ["schemaVersion", "mediaType", "config", "layers"]
    assert list(json.loads(data)["layers"][0]) == ["mediaType", "digest", "size", "from"]


@pytest.mark.parametrize(
    "value",
    [
        [],
        None,
        {},
        document(schemaVersion=1),
        document(mediaType="application/vnd.oci.image.index.v1+json"),
        document(mediaType=7),
        document(config=None),
        document(config=layer(digest="")),
        document(layers={}),
        document(layers=[None]),
        document(layers=[layer()] * 100_000),
        document(layers=[layer(), layer(size=2)]),
        document(layers=[layer(mediaType=None)]),
        document(layers=[layer(**{"from": ["x"]})]),
        *(
            document(layers=[layer(size=size)])
            for size in (-1, 1.0, "1", None, True, 1 << 60, float("inf"), float("nan"))
        ),
        *(
            document(layers=[layer(digest=digest)])
            for digest in (
                "sha256:../../../etc/passwd",
                "sha256:..",
                "sha256:" + "a" * 63,
                "sha256:" + "a" * 65,
                "sha256:" + "g" * 64,
                "sha512:" + "a" * 64,
                "sha256:" + "a" * 63 + "\0",
                "sha256:" + "a" * 64 + "\n",
                "a" * 64,
                "",
                None,
                7,
            )
        ),
    ],
)
def test_refuses_hostile_manifests_and_names_the_file(value: object) -> None:
    with pytest.raises(FormatError, match="here"):
        parse(value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000])
def test_refuses_what_is_no_json(data: bytes) -> None:
    with pytest.raises(FormatError):
        manifests.parse(data, "here")


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_never_fails_otherwise_than_with_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        manifests.parse(data, "here")


def test_refuses_a_gigabyte_before_it_is_read(tmp_path: Path) -> None:
    path = layout.manifest_path(tmp_path, name("huge"))
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(FormatError, match="more than"):
        manifests.read(tmp_path, name("huge"))


def test_a_pipe_in_place_of_a_manifest_is_refused_at_once(tmp_path: Path) -> None:
    path = layout.manifest_path(tmp_path, name("pipe"))
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(FormatError, match="regular"):
        manifests.read(tmp_path, name("pipe"))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("llama3.2", "registry.ollama.ai/library/llama3.2/latest"),
        ("me/llama3.2:1b", "registry.ollama.ai/me/llama3.2/1b"),
        ("hf.co/me/Llama:Q4_K_M", "hf.co/me/Llama/Q4_K_M"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b/c"),
    ],
)
def test_a_name_is_a_path(text: str, path: str, tmp_path: Path) -> None:
    assert layout.manifest_path(tmp_path, name(text)) == tmp_path / "manifests" / path


def test_a_host_longer_than_a_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too long"):
        manifests.find(tmp_path, name("h" * 300 + "/a/b"))


@given(st.text(max_size=30))
def test_no_name_leads_out_of_the_folder(text: str) -> None:
    try:
        parsed = ModelName.parse(text)
    except BadInput:
        return
    root = Path("/models")
    path = layout.manifest_path(root, parsed)
    assert ".." not in path.parts
    assert path.relative_to(root / "manifests").parts == tuple(parsed)


def test_finds_names_in_whatever_case_and_lists_only_names(tmp_path: Path) -> None:
    data = manifests.render(Layer(CONFIG_TYPE, OTHER, 2), ())
    (tmp_path / "manifests").mkdir()
    manifests.write(tmp_path, name("Foo/Bar:Baz"), data)
    for stray in (
        "registry.ollama.ai/.DS_Store",
        "registry.ollama.ai/library/-x/latest",
        "README",
        ".incoming-1",
    ):
        path = tmp_path / "manifests" / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert list(manifests.names(tmp_path)) == [name("Foo/Bar:Baz")]
    assert manifests.find(tmp_path, name("foo/bAR:BAZ")) == name("Foo/Bar:Baz")
    assert manifests.find(tmp_path, name("foo/other")) is None


def test_removing_the_last_tag_removes_the_folders(tmp_path: Path) -> None:
    data = manifests.render(Layer(CONFIG_TYPE, OTHER, 2), ())
    (tmp_path / "manifests").mkdir()
    for text in ("a/b:c", "a/b:d"):
        manifests.write(tmp_path, name(text), data)
    manifests.remove(tmp_path, name("a/b:c"))
    assert list(manifests.names(tmp_path)) == [name("a/b:d")]
    manifests.remove(tmp_path, name("a/b:d"))
    assert not list((tmp_path / "manifests").iterdir())
