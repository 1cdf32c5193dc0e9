"""Models pushed to a real registry and pulled from it, with a real model."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hutch.core.errors import NotFound, SourceFailed
from hutch.core.models import Progress
from hutch.core.names import Reference
from hutch.store.recipe import Recipe
from hutch.store.registry import push
from hutch.store.store import ModelStore
from tests.conftest import MODEL, Server, clean_environment, free_port
from tests.oci_registry import oci_registry
from tests.unit.store.things import add_model, blob_names, model_bytes, name, statuses, store_in

_HTPASSWD = "me:$2y$05$abcdefghijklmnopqrstuulzd.YqjLDl8lvpSmVj3De/fioSBHnUa\n"  # bcrypt of "hush"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with oci_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return store_in(tmp_path / "models")


@pytest.fixture
def other(tmp_path: Path) -> ModelStore:
    return store_in(tmp_path / "other")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)


def _sent(told: list[Progress]) -> set[str | None]:
    """The blobs that were sent piece by piece."""
    return {each.digest for each in told if each.total and 0 < (each.completed or 0) < each.total}


def test_what_one_store_pushes_another_pulls(
    host: str, store: ModelStore, other: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "CHUNK_BYTES", 1 << 18)
    weights = add_model(store, f"{host}/me/tiny:1", model_bytes(more_bytes=1 << 20))
    told = list(store.push(name(f"{host}/me/tiny:1"), insecure=True))
    assert [told[0].status, told[-2].status, told[-1].status] == [
        "retrieving manifest",
        "pushing manifest",
        "success",
    ]
    assert f"pushing {weights[7:19]}" in statuses(told)
    assert _sent(told) == {weights}
    assert _sent(list(store.push(name(f"{host}/me/tiny:1"), insecure=True))) == set()
    pulled = statuses(other.pull(name(f"{host}/me/tiny:1"), insecure=True))
    assert pulled[0] == "pulling manifest"
    assert f"pulling {weights[7:19]}" in pulled
    assert pulled[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert other.open(name(f"{host}/me/tiny:1")).stored.digest == store.list()[0].digest
    assert blob_names(other) == blob_names(store)


def test_a_copy_is_mounted_and_not_sent(
    host: str, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "CHUNK_BYTES", 1 << 18)
    add_model(store, f"{host}/me/base:1", model_bytes(2, more_bytes=1 << 20))
    statuses(store.push(name(f"{host}/me/base:1"), insecure=True))
    derived = Recipe(from_model=name(f"{host}/me/base:1"), system="x")
    statuses(store.create(name(f"{host}/me/derived:1"), derived))
    assert _sent(list(store.push(name(f"{host}/me/derived:1"), insecure=True))) == set()


def test_a_pull_brings_what_the_registry_has_now_and_a_pin_what_it_had(
    host: str, store: ModelStore, other: ModelStore
) -> None:
    text = f"{host}/me/moving:1"
    for seed in (1, 2):
        add_model(store, text, model_bytes(seed))
        statuses(store.push(name(text), insecure=True))
        if seed == 1:
            pinned = store.list()[0].digest
            statuses(other.pull(name(text), insecure=True))
    assert other.list()[0].digest == pinned
    statuses(other.pull(name(text), insecure=True))
    assert other.list()[0].digest == store.list()[0].digest != pinned
    reference = Reference.parse(f"{text}@sha256:{pinned}")
    statuses(other.pull(reference.name, digest=reference.digest, insecure=True))
    assert other.list()[0].digest == pinned
    with pytest.raises(NotFound, match="pull model manifest: file does not exist"):
        statuses(other.pull(reference.name, digest=f"sha256:{'0' * 64}", insecure=True))


def test_an_unknown_name_is_told_in_ollamas_words(host: str, store: ModelStore) -> None:
    with pytest.raises(NotFound, match=r"^pull model manifest: file does not exist$"):
        statuses(store.pull(name(f"{host}/me/nix"), insecure=True))
    with pytest.raises(NotFound, match=r"model '.*nix' not found"):
        statuses(store.push(name(f"{host}/me/nix"), insecure=True))
    assert store.list() == []


def test_a_login_is_docker_s(
    tmp_path: Path, store: ModelStore, other: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with oci_registry(tmp_path / "private", _HTPASSWD) as host:
        add_model(store, f"{host}/me/tiny")
        here = name(f"{host}/me/tiny")
        with pytest.raises(SourceFailed, match="refuses without a login") as caught:
            statuses(store.push(here, insecure=True))
        assert "docker login" in caught.value.hint
        login = base64.b64encode(b"me:hush").decode()
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
        statuses(store.push(here, insecure=True))
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", '{"auths": {"example.org": {"auth": "' + login + '"}}}')
        with pytest.raises(SourceFailed, match="refuses without a login"):
            statuses(other.pull(here, insecure=True))
        monkeypatch.delenv("DOCKER_AUTH_CONFIG")
        statuses(other.pull(here, insecure=True))
        assert other.open(here)


def test_a_real_model_goes_from_server_to_server_and_answers(
    host: str, serve: Callable[..., Server], models_copy: Path, tmp_path: Path
) -> None:
    there, here = serve(models_copy), serve(tmp_path / "empty")
    model = f"{host}/me/smollm2:135m"
    assert there.post("/api/copy", {"source": MODEL, "destination": model})[0] == 200
    status, lines = there.post("/api/push", {"model": model, "insecure": True})
    assert (status, lines[0], lines[-1]) == (200, {"status": "retrieving manifest"}, {"status": "success"})
    status, lines = here.post("/api/pull", {"model": f"{host}/me/nix", "insecure": True})
    assert (status, lines[0]) == (200, {"status": "pulling manifest"})
    assert lines[1]["error"] == "pull model manifest: file does not exist"
    pulled = _hutch(here, "pull", model, "--insecure")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stderr.splitlines()[-1] == "success"
    body = {"model": model, "prompt": "Why is the sky blue?", "stream": False, "options": {"num_predict": 4}}
    status, answer = here.post("/api/generate", body)
    assert (status, answer["done"]) == (200, True)
    assert answer["response"]
    assert _hutch(here, "pull", f"http://{model}", "--insecure").returncode == 0
    assert _hutch(here, "pull", f"http://{model}").stderr.startswith("Error: insecure protocol http")
    assert here.post("/api/pull", {"model": f"http://{model}", "stream": False})[0] == 400
    plain = {"model": f"http://{model}", "insecure": True, "stream": False}
    assert here.post("/api/pull", plain) == (200, {"status": "success"})


def _hutch(server: Server, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hutch", *words],
        env=clean_environment(HUTCH_HOST=server.url, HUTCH_HOME=str(server.home), **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_push_and_a_pull_need_no_server(host: str, store: ModelStore, tmp_path: Path) -> None:
    add_model(store, f"{host}/me/alone")
    place = Server(f"http://127.0.0.1:{free_port()}", tmp_path / "home", None)  # type: ignore[arg-type]
    name = f"{host}/me/alone"

    def hutch(*words: str) -> subprocess.CompletedProcess[str]:
        return _hutch(place, *words, HUTCH_MODELS=str(store.root))

    for words in (("push", name), ("pull", name), ("push", f"http://{name}"), ("pull", f"http://{name}")):
        done = hutch(*words, "--insecure")
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "success"), words
    for command in ("push", "pull"):
        done = hutch(command, f"http://{name}")
        assert (done.returncode, done.stderr.splitlines()[0]) == (2, "Error: insecure protocol http")
