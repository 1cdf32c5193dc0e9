"""Files and names made to do harm: refused at once, and nothing of them stays."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MODEL, Server
from tests.contract.live import ask, own_models, said, serving
from tests.gguf_files import EMBEDDING, NORM, Raw, TensorSpec, tiny_model


@pytest.fixture(scope="module")
def workshop(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model folder may be filled with anything."""
    folder = tmp_path_factory.mktemp("workshop")
    with serving(folder / "home", own_models(models_dir, folder / "models")) as server:
        yield server


HOSTILE = {
    "nothing": b"",
    "the magic alone": b"GGUF",
    "no GGUF": b"PK\3\4" + bytes(500),
    "cut": tiny_model()[:300],
    "counts of 2**63": tiny_model(num_tensors=1 << 63),
    "alignment 0": tiny_model({"general.alignment": 0}),
    "block_count 0": tiny_model({"llama.block_count": 0}),
    "block_count a text": tiny_model({"llama.block_count": "2"}),
    "a tensor past the end": tiny_model(tensors=(EMBEDDING, NORM, TensorSpec("t", (1 << 20,), offset=0))),
    "dimensions that overflow": tiny_model(
        tensors=(EMBEDDING, TensorSpec("t", (1 << 32, 1 << 32), offset=0))
    ),
    "a string of 2**63": tiny_model({"general.name": Raw(8, b"\xff" * 7 + b"\x7f")}),
    "a byte token that is none": tiny_model(
        {"tokenizer.ggml.tokens": ("<s>", "</s>", "<0x-1>", "a", "b", "ab")}
    ),
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_a_hostile_model_file_is_refused_at_once_and_gets_no_name(workshop: Server, what: str) -> None:
    data = HOSTILE[what]
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert ask(workshop, "POST", f"/api/blobs/{digest}", data).status in (200, 201)
    before = ask(workshop, "GET", "/api/tags").json
    for stream in (False, True):
        began = time.monotonic()
        body = {"model": "hostile", "files": {"m.gguf": digest}, "stream": stream}
        reply = ask(workshop, "POST", "/api/create", body)
        assert time.monotonic() - began < 1
        assert reply.status == (200 if stream else 400)
        last = reply.lines[-1]
        assert last["error"]
        assert not any(line.get("status") == "success" for line in reply.lines)
    assert ask(workshop, "GET", "/api/tags").json == before


@pytest.mark.parametrize(
    ("digest", "status"),
    [
        ("sha256:" + "0" * 63, 400),
        ("sha256:" + "0" * 65, 400),
        ("sha256:" + "g" * 64, 400),
        ("md5:" + "0" * 32, 400),
        ("sha256:..%2f..%2f..%2fetc%2fpasswd", 404),  # a slash is never part of a digest's place
        ("sha256%3A" + "0" * 64, 400),  # a right digest, of other bytes
        ("..", 404),
        ("%00", 400),
    ],
)
def test_a_blob_goes_nowhere_but_under_its_own_digest(workshop: Server, digest: str, status: int) -> None:
    root = workshop.home.parent / "models"
    before = sorted(root.rglob("*"))
    assert ask(workshop, "POST", f"/api/blobs/{digest}", b"other bytes").status in (status, 400, 405)
    assert sorted(root.rglob("*")) == before
    assert ask(workshop, "HEAD", f"/api/blobs/{digest}").status in (400, 404, 405)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/b/c/d",
        "C:\\x",
        "a\0b",
        "-x",
        ".x",
        "x" * 81,
        "ａ",
        "a b",
        "a:b:c",
    ],
)
def test_a_name_that_is_none_is_refused_everywhere(workshop: Server, name: str) -> None:
    for method, path, body in (
        ("POST", "/api/generate", {"model": name, "prompt": "Hi"}),
        ("POST", "/api/show", {"model": name}),
        ("DELETE", "/api/delete", {"model": name}),
        ("POST", "/api/copy", {"source": MODEL, "destination": name}),
        ("POST", "/api/copy", {"source": name, "destination": "x"}),
        ("POST", "/api/pull", {"model": name}),
        ("POST", "/api/create", {"model": name, "from": MODEL}),
        ("POST", "/api/create", {"model": "x", "from": name}),
        ("POST", "/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": "Hi"}]}),
    ):
        reply = ask(workshop, method, path, body)
        assert reply.status in (400, 404), (path, reply.status)
        assert reply.error


def test_none_of_this_was_an_internal_error(workshop: Server) -> None:
    assert "internal error" not in said(workshop)
    assert "Traceback" not in said(workshop)
