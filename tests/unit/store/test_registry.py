"""Registries, as far as no server is needed: parts, challenges, logins, references."""

import json
from pathlib import Path

import pytest

from hutch.core.errors import BadInput
from hutch.core.names import ModelName, Reference
from hutch.store.registry import logins, parts
from hutch.store.registry.logins import Challenge
from hutch.store.registry.parts import Part, Split

PIN = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("size_bytes", "sizes"),
    [
        (0, []),
        (1, [1]),
        (98_362_432, [98_362_432]),
        (250_000_000, [100_000_000, 100_000_000, 50_000_000]),
        (3_200_000_000, [200_000_000] * 16),
        (32_000_000_000, [1_000_000_000] * 32),
    ],
)
def test_a_blob_is_cut_up_as_far_as_it_pays(size_bytes: int, sizes: list[int]) -> None:
    cut = parts.plan(size_bytes, Split())
    assert [part.size_bytes for part in cut] == sizes
    assert [part.offset for part in cut] == [sum(sizes[:number]) for number in range(len(sizes))]


def test_notes_are_read_as_they_were_written(tmp_path: Path) -> None:
    partial = tmp_path / "sha256-ab-partial"
    todo = [Part(0, 0, 10, 4), Part(1, 10, 5)]
    for part in todo:
        parts.note(partial, part)
    assert parts.noted(partial, 15) == []
    partial.write_bytes(bytes(15))
    assert parts.noted(partial, 15) == todo
    assert parts.noted(partial, 16) == []
    assert json.loads((tmp_path / "sha256-ab-partial-0").read_text()) == {
        "N": 0,
        "Offset": 0,
        "Size": 10,
        "Completed": 4,
    }
    parts.forget(partial)
    assert [path.name for path in tmp_path.iterdir()] == [partial.name]


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ('Basic realm="x"', Challenge("basic", "x")),
        (
            'Bearer realm="https://h/t",service="s",scope="repository:a/b:pull,push"',
            Challenge("bearer", "https://h/t", "s", "repository:a/b:pull,push"),
        ),
        ('bearer service="s", realm="r"', Challenge("bearer", "r", "s")),
        ('Basic realm="x", Bearer realm="y"', Challenge("bearer", "y")),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_challenges(header: str, challenge: Challenge | None) -> None:
    assert Challenge.parse(header) == challenge


@pytest.mark.parametrize(
    ("key", "login", "said"),
    [
        ("h:5000", {"auth": "YTpi"}, "Basic YTpi"),
        ("https://h:5000/v1/", {"auth": "YTpi"}, "Basic YTpi"),
        ("H:5000", {"username": "a", "password": "b"}, "Basic YTpi"),
        ("h:5000", {"registrytoken": "t"}, "Bearer t"),
        ("h:5000", {}, ""),
        ("h", {"auth": "YTpi"}, ""),
        ("evil-h:5000", {"auth": "YTpi"}, ""),
    ],
)
def test_a_login_is_for_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, login: dict[str, str], said: str
) -> None:
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert logins.authorization("h:5000") == ""
    (tmp_path / "config.json").write_text(json.dumps({"auths": {key: login}}))
    assert logins.authorization("h:5000") == said


def test_references_may_be_pinned() -> None:
    assert Reference.parse("m") == Reference(ModelName.parse("m"))
    assert Reference.parse(f"h:1/n/m:t@{PIN}") == Reference(ModelName("h:1", "n", "m", "t"), PIN)
    assert str(Reference.parse(f"m@{PIN}")) == f"registry.ollama.ai/library/m:latest@{PIN}"
    for text in ("m@", "m@sha256:ab", f"@{PIN}", f"m@{PIN}@{PIN}", "m@md5:" + "a" * 64):
        with pytest.raises(BadInput):
            Reference.parse(text)
