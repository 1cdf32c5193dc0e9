"""Pulls from registries that stall, lie, fail and lead astray, and pulls that end in the middle."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import BadInput, HutchError, NoRoom, NotBuilt, NotFound, SourceFailed
from hutch.core.names import ModelName
from hutch.store import room
from hutch.store.download import Patience
from hutch.store.manifests import LAYER_TYPE
from hutch.store.registry import pull, push
from hutch.store.registry.parts import Split
from hutch.store.store import ModelStore
from tests.conftest import clean_environment
from tests.contract.live import eventually
from tests.unit.store.faulty_registry import FaultyRegistry, faulty_registry, manifest_of
from tests.unit.store.things import blob_names, digest_of, flipped, model_bytes, name, statuses, store_in

DATA = model_bytes(more_bytes=4 << 20)
QUICK = Patience(stall_s=0.5, tries=3, pause_s=0.01)
SPLIT = Split(connections=4, min_bytes=1 << 20, max_bytes=1 << 20)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    monkeypatch.setattr(pull, "PATIENCE", QUICK)
    monkeypatch.setattr(pull, "SPLIT", SPLIT)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        running.add_model(DATA, system=b"Be brief.")
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return store_in(tmp_path / "models")


def model(registry: FaultyRegistry) -> ModelName:
    return name(f"{registry.host}/me/x")


def pulled(registry: FaultyRegistry, store: ModelStore) -> list[str]:
    return statuses(store.pull(model(registry), insecure=True))


def is_there(registry: FaultyRegistry, store: ModelStore) -> bool:
    return store.open(model(registry)).weights[0].read_bytes() == DATA


def test_parts_come_over_several_connections(registry: FaultyRegistry, store: ModelStore) -> None:
    pulled(registry, store)
    assert is_there(registry, store)
    ranges = {wanted for wanted in registry.ranges() if wanted}
    assert ranges == {
        f"bytes={at}-{min(at + (1 << 20), len(DATA)) - 1}" for at in range(0, len(DATA), 1 << 20)
    }
    assert not [each for each in blob_names(store) if "partial" in each]
    assert store.open(model(registry)).system == "Be brief."


@pytest.mark.parametrize("fault", ["short", "stall", "drip", "503", "429", "500"])
def test_a_part_that_fails_is_asked_for_again(
    registry: FaultyRegistry, store: ModelStore, fault: str
) -> None:
    registry.faults["blobs"] = ["", fault, fault]
    if not fault.isalpha():
        registry.faults["manifests"] = [fault]
    pulled(registry, store)
    assert is_there(registry, store)


def test_a_registry_without_ranges_sends_the_whole(registry: FaultyRegistry, store: ModelStore) -> None:
    registry.faults["blobs"] = ["no-ranges"] * 99
    pulled(registry, store)
    assert is_there(registry, store)


def test_a_registry_without_ranges_that_always_breaks_off_is_given_up(
    registry: FaultyRegistry, store: ModelStore
) -> None:
    registry.faults["blobs"] = ["no-ranges-short"] * 99
    with pytest.raises(SourceFailed, match="breaks off, and cannot send the rest alone") as caught:
        pulled(registry, store)
    assert "for ranges" in caught.value.hint
    assert len(registry.faults["blobs"]) > 99 - 10 * QUICK.tries
    assert store.list() == []
    registry.faults["blobs"] = ["no-ranges-short", "no-ranges"]
    pulled(registry, store)
    assert is_there(registry, store)


@pytest.mark.parametrize("fault", ["wrong-range", "flipped", "gzip", "403", "404"])
def test_a_lie_is_an_error_and_gets_no_name(registry: FaultyRegistry, store: ModelStore, fault: str) -> None:
    registry.faults["blobs"] = [fault]
    with pytest.raises(SourceFailed) as caught:
        pulled(registry, store)
    assert store.list() == []
    if fault == "flipped":
        assert "digest mismatch" in caught.value.message
        assert not [each for each in blob_names(store) if digest_of(DATA)[7:] in each]
    pulled(registry, store)
    assert is_there(registry, store)


def test_a_server_that_never_gets_better_is_given_up_and_what_came_is_kept(
    registry: FaultyRegistry, store: ModelStore
) -> None:
    registry.faults["blobs"] = ["short"] + ["503"] * 99
    with pytest.raises(SourceFailed, match=r"\(3 times\)"):
        pulled(registry, store)
    registry.faults["blobs"], before_bytes = [], registry.served_bytes
    pulled(registry, store)
    assert registry.served_bytes - before_bytes < len(DATA)
    assert is_there(registry, store)


def test_a_pull_that_is_left_goes_on_later(registry: FaultyRegistry, store: ModelStore) -> None:
    registry.drip_s = 0.03
    steps = store.pull(model(registry), insecure=True)
    half = next(step for step in steps if (step.completed or 0) > len(DATA) // 3)
    before_s = time.monotonic()
    steps.close()
    assert time.monotonic() - before_s < 1.5
    registry.drip_s, before_bytes = 0.0, registry.served_bytes
    pulled(registry, store)
    assert is_there(registry, store)
    assert registry.served_bytes - before_bytes < len(DATA) - (half.completed or 0) + (1 << 20)


def test_a_pull_that_is_left_in_a_stall_does_not_wait(
    registry: FaultyRegistry, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "PATIENCE", Patience())
    registry.faults["blobs"] = ["stall"] * 9
    steps = store.pull(model(registry), insecure=True)
    next(step for step in steps if (step.completed or 0) > len(DATA) // 3)
    before_s = time.monotonic()
    steps.close()
    assert time.monotonic() - before_s < 1.5


def test_what_an_earlier_pull_left_may_be_wrong(registry: FaultyRegistry, store: ModelStore) -> None:
    partial = store.blobs.path(digest_of(DATA)).with_name(digest_of(DATA).replace(":", "-") + "-partial")
    partial.parent.mkdir(parents=True)
    size = len(DATA)
    for left, notes in (
        (b"\0" * size, [{"N": 0, "Offset": 0, "Size": size, "Completed": size}]),
        (flipped(DATA), [{"N": 0, "Offset": 0, "Size": size, "Completed": size - 5}]),
        (DATA, [{"N": 0, "Offset": 0, "Size": size, "Completed": size + 1}]),
        (DATA, [{"N": 0, "Offset": 0, "Size": 10, "Completed": 10}]),
        (DATA, [{"N": 0, "Offset": -1, "Size": size + 1, "Completed": "1"}]),
        (b"\0" * 1000, []),
    ):
        partial.write_bytes(left)
        for note in notes:
            partial.with_name(f"{partial.name}-{note['N']}").write_text(json.dumps(note))
        pulled(registry, store)
        assert is_there(registry, store)
        assert not [each for each in blob_names(store) if "partial" in each]
        store.delete(model(registry))


def test_an_unfinished_pull_of_ollamas_goes_on(registry: FaultyRegistry, store: ModelStore) -> None:
    partial = store.blobs.path(digest_of(DATA)).with_name(digest_of(DATA).replace(":", "-") + "-partial")
    partial.parent.mkdir(parents=True)
    half = len(DATA) // 2
    partial.write_bytes(DATA[:half] + bytes(len(DATA) - half))
    for number, (offset, size, done) in enumerate([(0, half, half), (half, len(DATA) - half, 0)]):
        note = {"N": number, "Offset": offset, "Size": size, "Completed": done}
        partial.with_name(f"{partial.name}-{number}").write_text(json.dumps(note))
    pulled(registry, store)
    assert is_there(registry, store)
    assert f"bytes={half}-{len(DATA) - 1}" in registry.ranges()
    assert registry.served_bytes < half + 10_000


def test_a_damaged_blob_is_fetched_again(registry: FaultyRegistry, store: ModelStore) -> None:
    pulled(registry, store)
    store.blobs.path(digest_of(DATA)).write_bytes(flipped(DATA))
    pulled(registry, store)
    assert is_there(registry, store)


def test_two_pulls_share_one_download(registry: FaultyRegistry, store: ModelStore) -> None:
    registry.drip_s = 0.02
    problems: list[BaseException] = []

    def work() -> None:
        try:
            pulled(registry, store)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert is_there(registry, store)
    assert registry.served_bytes < len(DATA) * 1.1


def test_a_killed_pull_goes_on_where_it_was(registry: FaultyRegistry, store: ModelStore) -> None:
    script = f"""
        from hutch.core.names import ModelName
        from hutch.store.registry import blob, pull
        from hutch.store.registry.parts import Split
        from hutch.store.store import ModelStore
        from hutch.store.wanted import Catalog
        from pathlib import Path
        blob.NOTE_EVERY_BYTES = 1 << 16
        pull.SPLIT = Split(connections=4, min_bytes=1 << 20, max_bytes=1 << 20)
        store = ModelStore(Path({str(store.root)!r}), lambda: Catalog({{}}))
        list(store.pull(ModelName.parse({model(registry).short!r}), insecure=True))
    """
    registry.drip_s = 0.05
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], env=clean_environment())
    eventually(lambda: registry.served_bytes > len(DATA) // 2, 20, "half of it is served")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    registry.drip_s, before_bytes = 0.0, registry.served_bytes
    pulled(registry, store)
    assert is_there(registry, store)
    again_bytes = registry.served_bytes - before_bytes - (len(DATA) - before_bytes)
    assert again_bytes < (1 << 20), "at most a note's distance and a few pieces for each connection"


def test_no_room_is_told_before_the_first_byte(
    registry: FaultyRegistry, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, needed_bytes: int) -> None:
        raise NoRoom(f"{needed_bytes}")

    monkeypatch.setattr(room, "ensure", refuse)
    with pytest.raises(NoRoom, match=str(len(DATA) + len(b"Be brief.") + len(b'{"model_format":"gguf"}'))):
        pulled(registry, store)
    assert registry.ranges() == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://169.254.169.254/latest/meta-data", "private network"),
        ("http://[fe80::1]/", "private network"),
        ("file:///etc/passwd", "not https"),
        ("http://[", "."),
        ("/loop", "more than 5 times"),
        ("nowhere", "answered 307"),
    ],
)
@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_redirects_lead_nowhere_they_should_not(
    registry: FaultyRegistry, store: ModelStore, target: str, words: str, kind: str
) -> None:
    registry.faults[kind] = [target] * 99
    registry.answers["loop"] = lambda request: request.answer(307, b"", Location="/loop")
    with pytest.raises(SourceFailed, match=words):
        pulled(registry, store)
    assert store.list() == []


def test_a_redirect_may_lead_to_another_host_which_learns_no_login(
    registry: FaultyRegistry, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {registry.host: {"registrytoken": "t0k"}}}))
    registry.faults["manifests"] = ["401", ""]
    registry.answers["manifests"] = _ask_for_a_login(registry, 'Bearer realm="x"')
    with faulty_registry() as elsewhere:
        elsewhere.files = dict(registry.files)
        registry.answers["blobs"] = lambda request: request.answer(
            307, b"", Location=f"http://{elsewhere.host}{request.path}"
        )
        pulled(registry, store)
        assert is_there(registry, store)
        assert {headers.get("Authorization") for _, _, headers in elsewhere.seen} == {None}
    kinds = {kind for kind, _, headers in registry.seen if headers.get("Authorization") == "Bearer t0k"}
    assert kinds == {"manifests", "blobs"}


def _ask_for_a_login(registry: FaultyRegistry, challenge: str, token: str = "t0k") -> Any:
    def answer(request: Any) -> None:
        if request.headers.get("Authorization") == f"Bearer {token}":
            request.answer(200, registry.files["latest"])
        else:
            request.answer(401, b"{}", **{"WWW-Authenticate": challenge})

    return answer


def test_a_token_is_asked_for_without_a_login_where_there_is_none(
    registry: FaultyRegistry, store: ModelStore
) -> None:
    challenge = f'Bearer realm="http://{registry.host}/token",service="r",scope="repository:me/x:pull"'
    registry.answers["manifests"] = _ask_for_a_login(registry, challenge)
    registry.answers["token"] = lambda request: request.answer(200, b'{"token": "t0k"}')
    pulled(registry, store)
    assert is_there(registry, store)
    asked = next(headers for kind, _, headers in registry.seen if kind == "token")
    assert "Authorization" not in asked


@pytest.mark.parametrize(
    "token",
    [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\nb"}', b'{"token": "\\u2100"}', b"[" * 99999],
)
def test_what_is_no_token_is_refused(registry: FaultyRegistry, store: ModelStore, token: bytes) -> None:
    registry.answers["manifests"] = _ask_for_a_login(registry, f'Bearer realm="http://{registry.host}/token"')
    registry.answers["token"] = lambda request: request.answer(200, token)
    with pytest.raises(SourceFailed, match="no token"):
        pulled(registry, store)


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="http://{other}/token"',
        'Bearer realm="http://169.254.169.254/token"',
        'Bearer realm="https://evil.example/token"',
        'Bearer realm="http://["',
        "Bearer",
        'Digest realm="x"',
        'Basic realm="x"',
        "",
        "\u00ff" * 9000,
    ],
)
def test_nobody_elsewhere_gets_the_login(
    registry: FaultyRegistry, store: ModelStore, monkeypatch: pytest.MonkeyPatch, challenge: str
) -> None:
    logins = {registry.host: {"auth": "bWU6aHVzaA=="}}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": logins}))
    with faulty_registry() as other:
        said = challenge.format(other=other.host)
        registry.answers["manifests"] = _ask_for_a_login(registry, said)
        with pytest.raises(SourceFailed, match=r"elsewhere|refuses without a login") as caught:
            pulled(registry, store)
        assert other.seen == []
    assert "hush" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 1}', '{"auths": {"HOST": {"auth": "?"}}}'])
def test_a_broken_list_of_logins_is_an_error_that_keeps_its_secrets(
    registry: FaultyRegistry, store: ModelStore, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    registry.answers["manifests"] = _ask_for_a_login(registry, 'Basic realm="x"')
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", text.replace("HOST", registry.host))
    with pytest.raises(BadInput, match=r"^DOCKER_AUTH_CONFIG is no configuration of Docker$"):
        pulled(registry, store)


def layers(*rows: Any) -> dict[str, Any]:
    return {"layers": list(rows)}


DIGEST, SIZE = digest_of(DATA), len(DATA)


def layer(kind: str = "model", digest: str = DIGEST, size: object = SIZE) -> dict[str, Any]:
    return {"mediaType": LAYER_TYPE + kind, "digest": digest, "size": size}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (b"<html>Log in!</html>", "not valid JSON"),
        (b"[]", "JSON object"),
        (b"[" * 100_000, "JSON"),
        (b" " * (5 << 20), "more than"),
        (manifest_of(schemaVersion=1), "version 2"),
        (manifest_of(mediaType="application/vnd.oci.image.index.v1+json"), "version 2"),
        (manifest_of(layers=[]), "no weights"),
        (manifest_of(layers=None), "no weights"),
        (manifest_of(layers=[{}]), "impossible size"),
        (manifest_of(layers=[layer()] * 20_000), "at most"),
        (manifest_of(**layers(layer(size=-1))), "impossible size"),
        (manifest_of(**layers(layer(size=1 << 80))), "impossible size"),
        (manifest_of(**layers(layer(size=1.5))), "impossible size"),
        (manifest_of(**layers(layer(size=1 << 45))), "wants a model of"),
        (manifest_of(**layers(layer(), layer("template", digest_of(b"t"), 1 << 30))), "wants a template of"),
        (manifest_of(**layers(layer(), layer(size=5))), "two sizes"),
        (manifest_of(**layers(layer(digest="sha256:../../../../etc/passwd"))), "invalid digest"),
        (manifest_of(**layers(layer(digest="sha256:" + "a" * 63))), "invalid digest"),
        (manifest_of(**layers(layer(digest="md5:" + "a" * 64))), "invalid digest"),
        (manifest_of(**layers(layer(digest=""))), "invalid digest"),
        (manifest_of(**layers(layer("tensor"))), "single tensors"),
        (manifest_of(**layers({**layer(), "mediaType": "application/octet-stream"})), "no weights"),
        (manifest_of(config=None), "config is not"),
    ],
)
def test_a_manifest_is_read_as_a_stranger_s(
    registry: FaultyRegistry, store: ModelStore, data: bytes, words: str
) -> None:
    registry.files["latest"] = data
    with pytest.raises((SourceFailed, NotBuilt), match=words):
        pulled(registry, store)
    assert store.list() == []
    assert registry.ranges() == []


@pytest.mark.parametrize("fault", ["gzip", "drip", "404"])
def test_a_manifest_that_comes_badly_is_no_manifest(
    registry: FaultyRegistry, store: ModelStore, fault: str
) -> None:
    registry.faults["manifests"] = [fault] * 9
    expected = NotFound if fault == "404" else SourceFailed
    with pytest.raises(expected):
        pulled(registry, store)


def test_weights_that_are_no_model_get_no_name_and_leave_nothing(
    registry: FaultyRegistry, store: ModelStore
) -> None:
    registry.add_model(b"GGUF")
    with pytest.raises(BadInput):
        pulled(registry, store)
    assert store.list() == []
    assert blob_names(store) == []


def test_a_registry_that_is_away_is_told_at_once(store: ModelStore) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        before_s = time.monotonic()
        here = name(f"127.0.0.1:{taken.getsockname()[1]}/me/x")
        with pytest.raises(SourceFailed, match=r"^cannot reach 127") as caught:
            statuses(store.pull(here, insecure=True))
        assert time.monotonic() - before_s < 2
    assert "network" in caught.value.hint


@pytest.mark.parametrize("text", ["a::b/me/x", "a:99999/me/x", "a:b/me/x", "-/me/x", "169.254.169.254/me/x"])
def test_what_is_no_host_is_refused(store: ModelStore, text: str) -> None:
    with pytest.raises(HutchError):
        statuses(store.pull(name(text), insecure=True))


def test_a_pin_holds_what_the_registry_says_to_it(registry: FaultyRegistry, store: ModelStore) -> None:
    pin = digest_of(registry.files["latest"])
    registry.files[pin] = registry.files["latest"] + b" "
    with pytest.raises(SourceFailed, match="digest mismatch"):
        statuses(store.pull(model(registry), digest=pin, insecure=True))
    registry.files[pin] = registry.files["latest"]
    statuses(store.pull(model(registry), digest=pin, insecure=True))
    assert f"sha256:{store.list()[0].digest}" == pin


def test_without_insistence_there_is_no_http(registry: FaultyRegistry, store: ModelStore) -> None:
    with pytest.raises(SourceFailed, match="cannot reach"):
        statuses(store.pull(model(registry)))
    assert registry.seen == []


@pytest.fixture
def ready(registry: FaultyRegistry, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> FaultyRegistry:
    """A registry that has nothing, and a store with what it had."""
    pulled(registry, store)
    registry.files.clear()
    monkeypatch.setattr(push, "CHUNK_BYTES", 1 << 20)
    return registry


def pushed(registry: FaultyRegistry, store: ModelStore) -> list[str]:
    return statuses(store.push(model(registry), insecure=True))


@pytest.mark.parametrize("fault", ["short", "gone", "503"])
def test_a_push_goes_on_where_the_registry_says(
    ready: FaultyRegistry, store: ModelStore, fault: str, tmp_path: Path
) -> None:
    ready.faults["uploads"] = ["", fault]
    told = pushed(ready, store)
    assert told[0] == "retrieving manifest"
    assert told[-2:] == ["pushing manifest", "success"]
    assert ready.files[digest_of(DATA)] == DATA
    chunk = 1 << 20
    again = {"short": chunk * 3 // 2, "gone": chunk * 2, "503": chunk}[fault]
    assert [first for first, _ in ready.patches][:3] == [0, chunk, again]
    other = store_in(tmp_path / "other")
    pulled(ready, other)
    assert is_there(ready, other)


def test_a_push_gives_up_and_a_second_one_sends_what_is_missing(
    ready: FaultyRegistry, store: ModelStore
) -> None:
    ready.faults["uploads"] = ["503"] * 99
    with pytest.raises(SourceFailed, match=r"answered 503 \(3 times\)"):
        pushed(ready, store)
    ready.faults["uploads"], ready.patches = [], []
    ready.files[digest_of(DATA)] = DATA
    pushed(ready, store)
    assert sum(length for _, length in ready.patches) < 100


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:9/x", "https://evil.example/x", "file:///etc/passwd", "http://[", "//h:99999/"],
)
def test_a_push_goes_to_no_other_host(ready: FaultyRegistry, store: ModelStore, location: str) -> None:
    ready.upload_location = location
    with pytest.raises(SourceFailed):
        pushed(ready, store)
    assert ready.patches == []


@pytest.mark.parametrize("status", ["400", "403", "413", "307"])
def test_a_refusal_of_a_push_is_told(ready: FaultyRegistry, store: ModelStore, status: str) -> None:
    ready.faults["uploads"] = [status] * 9
    with pytest.raises(SourceFailed, match=status):
        pushed(ready, store)


def test_a_push_of_a_model_that_is_not_whole_sends_no_manifest(
    ready: FaultyRegistry, store: ModelStore
) -> None:
    store.blobs.path(digest_of(DATA)).write_bytes(b"short")
    with pytest.raises(BadInput, match="missing or has another size"):
        pushed(ready, store)
    assert "latest" not in ready.files
