"""Things that tests of the store share: small models, wheels of them, and stores."""

import hashlib
import os
import random
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from hutch import places
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog, Member, Wanted
from tests.gguf_files import tiny_model

TINY = ModelName.parse("tiny")


def model_bytes(seed: int = 0, more_bytes: int = 0, **changes: Any) -> bytes:
    """A GGUF file that is a whole model, different for every seed, with incompressible bytes at its end."""
    return tiny_model({"general.name": f"Tiny {seed}", **changes}) + random.Random(seed).randbytes(more_bytes)


def digest_of(data: bytes) -> str:
    """A blob's digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def name(text: str) -> ModelName:
    """A model's name."""
    return ModelName.parse(text)


def store_in(root: Path, entries: dict[ModelName, Wanted] | None = None) -> ModelStore:
    """A store with a catalog of one's own."""
    return ModelStore(root, lambda: Catalog(entries or {}))


def statuses(progress: Iterable[Progress]) -> list[str]:
    """What was told, each thing once."""
    return list(dict.fromkeys(each.status for each in progress))


def add_model(
    store: ModelStore, text: str = "tiny", data: bytes | None = None, folder: Path | None = None
) -> str:
    """Have a model of this name in the store, and return the digest of its weights."""
    data = model_bytes() if data is None else data
    file = (folder or store.root.parent) / "given.gguf"
    file.write_bytes(data)
    statuses(store.pull(name(text), str(file), replace=True))
    return digest_of(data)


def blob_names(store: ModelStore) -> list[str]:
    """The files beside each other in `blobs/`."""
    return sorted(path.name for path in store.root.glob("blobs/*"))


def aged(path: Path, hours: float = 2) -> None:
    """Let a file look as if it was written so long ago."""
    then_s = time.time() - hours * 3600
    os.utime(path, (then_s, then_s))


def make_wheel(folder: Path, package: str, files: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel with these files in it, as far as anything here looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return path


def member(wheel: Path, path: str, size_bytes: int | None = None) -> Member:
    """A file in a wheel, with the wheel's digest."""
    package, version, *_ = wheel.name.split("-")
    return Member(package.replace("_", "-"), version, path, digest_of(wheel.read_bytes()), size_bytes)


def wanted(data: bytes, *members: Member, **more: Any) -> Wanted:
    """What the catalog would say about these bytes."""
    return Wanted("pypi", digest=digest_of(data), size_bytes=len(data), members=members, **more)


def flipped(data: bytes, at: int = -1) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


Environment = Callable[..., None]


def pip_alone(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Give a function that sets pip's variables, so that nothing else of this machine's settings counts."""

    def set_only(**variables: str) -> None:
        monkeypatch.setattr(places, "pip_environment", lambda: {"PIP_CONFIG_FILE": "/dev/null", **variables})

    set_only(PIP_NO_INDEX="1")
    return set_only
