"""The Dockerfiles, read as Docker reads them."""

import fnmatch
import io
import json
import shlex
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parent.parent.parent
FILES = ("Dockerfile", "docker/Dockerfile")
HEALTH = (
    "--interval=30s --timeout=3s --start-period=5s --retries=3 "
    "CMD curl -f http://localhost:11434/api/health || exit 1"
)


def instructions(path: str) -> list[tuple[str, str]]:
    """Each instruction and what it says, with its lines joined."""
    parser = DockerfileParser(fileobj=io.BytesIO((ROOT / path).read_bytes()))
    return [
        (each["instruction"], " ".join(each["value"].split()))
        for each in parser.structure
        if each["instruction"] != "COMMENT"
    ]


def said(path: str, name: str) -> list[str]:
    return [value for instruction, value in instructions(path) if instruction == name]


@pytest.mark.parametrize("path", FILES)
def test_begins_from_an_image_and_ends_healthy(path: str) -> None:
    assert instructions(path)[0][0] == "FROM"
    assert said(path, "EXPOSE") == ["11434"]
    assert said(path, "HEALTHCHECK") == [HEALTH]


@pytest.mark.parametrize("path", FILES)
def test_copies_what_is_there(path: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for copied in said(path, "COPY"):
        for source in shlex.split(copied)[:-1]:
            assert (ROOT / path).parent.joinpath(source).exists(), source
            if path == "Dockerfile":  # whose context is the project
                assert f"!{source.split('/')[0]}" in ignored


def test_nothing_runs_as_root() -> None:
    names = [name for name, _ in instructions("Dockerfile")]
    assert said("Dockerfile", "USER") == ["hutch"]
    assert "RUN" not in names[names.index("USER") :]
    assert not said("docker/Dockerfile", "USER")


def test_the_models_of_an_image_made_from_it_are_kept() -> None:
    assert said("Dockerfile", "VOLUME") == []
    (environment,) = said("Dockerfile", "ENV")
    assert shlex.split(environment) == ["HOME=/root", "HUTCH_HOME=/root/.ollama", "HUTCH_HOST=0.0.0.0"]


def test_what_it_installs_is_locked() -> None:
    installs = [run for run in said("Dockerfile", "RUN") if "pip install" in run]
    assert all("--require-hashes" in run or "--no-deps" in run for run in installs)
    assert all("rm -rf /var/lib/apt/lists" in run for run in said("Dockerfile", "RUN") if "apt-get" in run)


def test_it_starts_as_ollamas_image_does() -> None:
    assert [json.loads(said("Dockerfile", name)[0]) for name in ("ENTRYPOINT", "CMD")] == [
        ["hutch"],
        ["serve"],
    ]


def test_no_secret_is_copied() -> None:
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert patterns[0] == "*"
    assert not any(fnmatch.fnmatch(".git", pattern[1:]) for pattern in patterns if pattern.startswith("!"))
