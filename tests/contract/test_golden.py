"""Each dialect's replies, byte for byte, from the real front over a backend that plays parts.

A file of `tests/golden` holds a request and its reply. `python -m tests.contract.test_golden` writes the replies anew:
look at what git then shows, for clients will see the same.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hutch.api.activity import Activity
from hutch.api.server import create_app
from hutch.app import App
from hutch.config import Settings
from hutch.core.names import ModelName
from hutch.places import Address
from hutch.security.authn import Open
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog
from tests.fakes import WHEN, FakeBackend
from tests.gguf_files import tiny_model

GOLDEN = Path(__file__).parent.parent / "golden"
_SHOWN_HEADERS = ("retry-after", "www-authenticate", "x-hutch-ignored", "allow", "cache-control")
_CHANGING = (
    (re.compile(r'"created_at": ?"[^"]+Z"'), '"created_at":"<time>"'),
    (re.compile(r'"created": ?\d{10}'), '"created":0'),
    (re.compile(r'"(chatcmpl|cmpl|score)-[0-9a-f]{32}"'), r'"\1-<id>"'),
    (re.compile(r'"(msg|resp|rs|fc|call)_[0-9a-f]{32}"'), r'"\1_<id>"'),
    (re.compile(r'"(created_at|completed_at)": ?\d{10}'), r'"\1":0'),
    (re.compile(r"FROM /[^ ]*/models/blobs/"), "FROM <models>/blobs/"),
    (re.compile(r"internal error [0-9a-f]{8}"), "internal error <number>"),
)


def front(folder: Path, backend: FakeBackend, **settings: Any) -> TestClient:
    """The real application over this backend, with one tiny model in its store."""
    root = folder / "models"
    store = ModelStore(root, lambda: Catalog({}))
    digest = "sha256:" + _sha256(tiny_model())
    store.import_blob([tiny_model()], digest)
    recipe = Recipe(files=(("tiny.gguf", digest),), system="You are tiny.", parameters={"num_ctx": 32})
    for _ in store.create(ModelName.parse("tiny"), recipe):
        pass
    for manifest in (root / "manifests").rglob("latest"):
        os.utime(manifest, (WHEN.timestamp(), WHEN.timestamp()))
    parts = App(Settings(**settings), store, backend, Open())
    app = create_app(parts, Address.parse("127.0.0.1"), Activity())
    return TestClient(app, "http://localhost")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def reply_to(client: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    """What the front answers, without what is another each time."""
    body = request.get("body")
    content = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    reply = client.request(
        request.get("method", "POST"), request["path"], content=content, headers=request.get("headers", {})
    )
    text = reply.content.decode()
    for pattern, steady in _CHANGING:
        text = pattern.sub(steady, text)
    kind = reply.headers.get("content-type", "")
    shown = {name: reply.headers[name] for name in _SHOWN_HEADERS if name in reply.headers}
    said: dict[str, Any] = {"status": reply.status_code, "type": kind} | ({"headers": shown} if shown else {})
    if kind.startswith("application/json"):
        return said | {"json": json.loads(text)}
    return said | {"lines": text.split("\n")}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The front of this module."""
    folder = tmp_path_factory.mktemp("front")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUTCH_HOME", str(folder))
        with front(folder, FakeBackend()) as made:
            yield made


def golden_files() -> list[str]:
    """Every request and reply that is written down."""
    return sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.json"))


@pytest.mark.parametrize("name", golden_files())
def test_the_reply_is_the_one_that_is_written_down(client: TestClient, name: str) -> None:
    golden = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    assert reply_to(client, golden["request"]) == golden["reply"]


def test_every_dialect_is_written_down() -> None:
    folders = [name.split("/", maxsplit=1)[0] for name in golden_files()]
    assert folders.count("ollama") > 50
    assert folders.count("openai") > 40
    assert folders.count("anthropic") > 30
    assert folders.count("responses") > 40
    assert folders.count("tokens") > 20


def main() -> None:
    """Write every reply anew."""
    with tempfile.TemporaryDirectory() as folder, front(Path(folder), FakeBackend()) as client:
        for name in golden_files():
            path = GOLDEN / name
            golden = json.loads(path.read_text(encoding="utf-8"))
            golden["reply"] = reply_to(client, golden["request"])
            path.write_text(json.dumps(golden, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
