"""Locks between processes and threads, and what they keep from happening."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hutch.core.errors import Conflict
from hutch.core.models import Progress
from hutch.store import jobs, layout
from hutch.store.blobs import Blobs, exhaust
from hutch.store.lock import Lock
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests.unit.store.things import add_model, aged, blob_names, digest_of, model_bytes, name, statuses

HOLDER = """
import sys
from pathlib import Path
from hutch.store.lock import Lock
lock = Lock(Path(sys.argv[1]), sys.argv[2], shared=sys.argv[3] == "shared")
assert lock.try_acquire()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(root: Path, lock: str, kind: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock until it is killed or its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), lock, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_one_process_waits_for_another_says_so_and_gives_up(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "x"), Lock(tmp_path, "x") as lock:
        told: list[Progress] = []
        with pytest.raises(Conflict, match="another process is still testing"):
            told.extend(lock.wait("testing", timeout_s=0.1))
        assert next(Lock(tmp_path, "x").wait("testing", 0.1)) == Progress(
            "waiting for another process testing"
        )


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "x") as process, Lock(tmp_path, "x") as lock:
        assert not lock.try_acquire()
        os.kill(process.pid, signal.SIGKILL)
        lock.acquire("testing", timeout_s=5)


def test_shared_holders_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "x", "shared"):
        with Lock(tmp_path, "x", shared=True) as lock:
            assert lock.try_acquire()
        with Lock(tmp_path, "x") as lock:
            assert not lock.try_acquire()


def test_a_sign_of_life_puts_the_end_of_patience_off(tmp_path: Path) -> None:
    signs = iter(range(6))
    with Lock(tmp_path, "x") as holder, Lock(tmp_path, "x") as lock:
        holder.acquire("", 0)
        before_s = time.monotonic()
        with pytest.raises(Conflict):
            exhaust(lock.wait("testing", 0.1, lambda: next(signs, None)))
        assert time.monotonic() - before_s > 0.3


def test_threads_exclude_each_other_though_the_file_comes_and_goes(tmp_path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with Lock(tmp_path, "x", fleeting=True) as lock:
                lock.acquire("testing", 20)
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(layout.locks_folder(tmp_path).iterdir()) == []


def test_prune_waits_for_a_running_pull_and_keeps_what_it_has_not_named_yet(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WAIT_S", 0.2)
    (tmp_path / "x.gguf").write_bytes(model_bytes())
    pull = store.pull(name("x"), str(tmp_path / "x.gguf"))
    for progress in pull:
        if progress.status == "writing manifest":
            break
    assert len(blob_names(store)) == 2  # weights and config, which no manifest names yet
    for blob in store.root.glob("blobs/*"):
        aged(blob)
    with pytest.raises(Conflict, match="pulling or creating"):
        store.prune(store.prune_plan())
    statuses(pull)
    assert store.prune_plan() == []
    assert store.open(name("x")).weights[0].is_file()


def test_removing_a_model_does_not_take_a_blob_that_a_running_job_counts_on(
    store: ModelStore, tmp_path: Path
) -> None:
    digest = add_model(store, "old")
    (tmp_path / "x.gguf").write_bytes(model_bytes())
    pull = store.pull(name("new"), str(tmp_path / "x.gguf"))
    for progress in pull:
        if progress.status == "writing manifest":
            break
    store.delete(name("old"))
    assert store.has_blob(digest)
    statuses(pull)
    assert store.open(name("new")).weights[0].is_file()


def test_a_pull_that_is_dropped_leaves_nothing_behind(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(model_bytes())
    pull = store.pull(name("x"), str(tmp_path / "x.gguf"))
    for progress in pull:
        if progress.status == "writing manifest":
            break
    pull.close()
    assert blob_names(store) == []
    assert store.prune_plan() == []


def test_prune_lists_first_and_leaves_young_partials(store: ModelStore) -> None:
    digest = add_model(store)
    blobs = store.root / "blobs"
    young, old, lost = (f"sha256-{digit * 64}-partial" for digit in "123")
    files = {
        young: 1,
        old: 2,
        f"{lost}-0": 3,
        "incoming-0123456789abcdef-partial": 4,
        "sha256-" + "4" * 64: 5,
        "README": 6,
    }
    for file, size in files.items():
        (blobs / file).write_bytes(b"x" * size)
    (store.root / "manifests" / ".incoming-1").write_bytes(b"x")
    for file, hours in ((old, 25), (f"{lost}-0", 25), (young, 23), ("sha256-" + "4" * 64, 1.1)):
        aged(blobs / file, hours)
    planned = store.prune_plan()
    assert [(each.path, each.size_bytes) for each in planned] == [
        ("blobs/incoming-0123456789abcdef-partial", 4),
        (f"blobs/{old}", 2),
        (f"blobs/{lost}-0", 3),
        ("blobs/sha256-" + "4" * 64, 5),
        ("manifests/.incoming-1", 1),
    ]
    assert store.prune(planned) == planned
    assert store.prune_plan() == []
    assert {young, "README", digest.replace(":", "-")} <= set(blob_names(store))


def test_prune_removes_nothing_that_was_not_listed(store: ModelStore) -> None:
    first, second = digest_of(b"1"), digest_of(b"2")
    store.import_blob([b"1"], first)
    aged(store.blobs.path(first))
    listed = store.prune_plan()
    store.import_blob([b"2"], second)
    aged(store.blobs.path(second))
    assert store.prune(()) == []
    assert [each.path for each in store.prune(listed)] == ["blobs/" + first.replace(":", "-")]
    assert (store.has_blob(first), store.has_blob(second)) == (False, True)


def test_prune_leaves_what_has_been_named_since_it_was_listed(store: ModelStore) -> None:
    digest = digest_of(model_bytes())
    store.import_blob([model_bytes()], digest)
    aged(store.blobs.path(digest))
    listed = store.prune_plan()
    statuses(store.create(name("x"), Recipe(files=(("x.gguf", digest),))))
    assert len(listed) == 1
    assert store.prune(listed) == []
    assert store.open(name("x")).weights[0].is_file()


def test_prune_leaves_an_uploaded_blob_to_the_create_that_will_name_it(store: ModelStore) -> None:
    digest = digest_of(model_bytes())
    store.import_blob([model_bytes()], digest)
    assert store.prune_plan() == []
    statuses(store.create(name("x"), Recipe(files=(("x.gguf", digest),))))
    assert store.open(name("x")).weights[0].is_file()


def test_who_waits_is_given_back_after_every_look(tmp_path: Path) -> None:
    with Lock(tmp_path, "x") as holder, Lock(tmp_path, "x") as lock:
        holder.acquire("", 0)
        waiting = lock.wait("testing", timeout_s=60)
        for _ in range(4):
            before_s = time.monotonic()
            assert next(waiting).status == "waiting for another process testing"
            assert time.monotonic() - before_s < 0.25
        holder.release()
        assert list(waiting) == []
        assert not holder.try_acquire()


def test_two_writers_of_one_blob_take_turns_and_the_second_goes_on_where_the_first_stopped(
    tmp_path: Path,
) -> None:
    blobs = Blobs(tmp_path)
    digest = digest_of(b"abcdef")
    with blobs.partial(digest) as first:
        exhaust(first.open())
        first.write(b"abc")
        waiting = blobs.partial(digest).open()
        assert next(waiting).status == "waiting for another process downloading the same file"
        waiting.close()  # type: ignore[attr-defined]  # it is a generator
    with blobs.partial(digest) as second:
        exhaust(second.open())
        assert second.size_bytes == 3
        second.write(b"def")
        assert second.become_blob(digest) == digest
    assert blobs.is_whole(digest, 6)
