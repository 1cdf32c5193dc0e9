"""Pictures in a prompt, and the editor."""

import base64
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hutch.cli import editor, images, repl, slash
from hutch.cli.session import Session
from hutch.core.errors import BadInput
from tests.fake_ollama import chat_lines

PNG = b"\x89PNG\r\n\x1a\n rest"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "a cat.png"
    file.write_bytes(PNG)
    return file


@pytest.mark.parametrize("form", ["{}", "'{}'", "{escaped}"])
def test_a_path_in_a_prompt_becomes_a_picture(picture: Path, form: str) -> None:
    typed = form.format(picture, escaped=str(picture).replace(" ", r"\ "))
    seen = images.look(f"What is on {typed} here?")
    assert seen.images == [base64.b64encode(PNG).decode()]
    assert seen.files == [picture]
    assert seen.text == "What is on  here?"
    assert images.names_a_file(typed)


@pytest.mark.parametrize(
    "text",
    [
        "no path",
        "/nowhere/cat.png",
        "./cat.gif",
        "/bye",
        "/" + "a" * 5000 + ".png",
        "/\0.png",
        "~nobody/x.jpg",
        "",
    ],
)
def test_what_is_no_file_stays_text(text: str) -> None:
    assert images.look(text) == images.Seen(text, [], [])
    assert not images.names_a_file(text)


def test_a_path_may_begin_above(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = picture.parent / "below"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert images.look("../a cat.png").files == [Path("../a cat.png")]


def test_several_pictures_and_other_endings(picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.JPEG"
    other.write_bytes(b"\xff\xd8\xff\xe0")
    assert images.look(f"{picture} {other}").files == [picture, other]


def test_a_path_may_follow_what_only_looks_like_one(picture: Path) -> None:
    seen = images.look(f"this and/or that /x {picture}")
    assert (seen.files, seen.text) == ([picture], "this and/or that /x")


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "text", ["/" * 200_000, "/a" * 50_000 + ".png", "\\ " * 100_000 + ".png", "// code\n" * 20_000]
)
def test_much_text_is_looked_through_in_time(text: str) -> None:
    assert images.look(text).files == []


def test_a_picture_that_cannot_be_read_is_named(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)  # whoever runs the tests as root can read everything
    with pytest.raises(BadInput, match="Permission denied"):
        images.look(str(picture))


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "x.png"
    fake.write_bytes(b"#!/bin/sh")
    with pytest.raises(BadInput, match="not a JPEG, PNG or WebP"):
        images.look(str(fake))
    monkeypatch.setattr(images, "_LARGEST_BYTES", 3)
    with pytest.raises(BadInput, match="larger than"):
        images.look(str(fake))


class _Server:
    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(body)
        yield from chat_lines("A cat")


class _Recorder:
    is_recording = True


def test_only_a_model_that_sees_gets_pictures(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = _Server()
    session = Session(server, "m", capabilities=("completion", "vision"))
    repl.turn(slash.Desk(session, _Recorder()), f"{picture} what is it?")  # and is no slash command
    assert server.asked[0]["messages"][0] == {
        "role": "user",
        "content": "what is it?",
        "images": [base64.b64encode(PNG).decode()],
    }
    assert f"Added image '{picture}'" in capsys.readouterr().err
    assert session.generate_body(f"on {picture}?")["images"]
    session.capabilities = ("completion",)
    assert session.generate_body(f"on {picture}?") == {"model": "m", "prompt": f"on {picture}?"}
    repl.turn(slash.Desk(session, _Recorder()), f"{picture} what is it?")
    assert "Unknown command" in capsys.readouterr().out


def test_layers_on_the_gpu_go_with_every_request_and_into_no_model() -> None:
    session = Session(_Server(), "m", gpu_layers=35, dimensions=8, truncate=False)
    assert session.generate_body("x")["options"] == {"num_gpu": 35}
    assert session.chat_body()["options"] == {"num_gpu": 35}
    assert session.embed_body("x") == {
        "model": "m", "input": "x", "options": {"num_gpu": 35}, "truncate": False, "dimensions": 8
    }  # fmt: skip
    session.options["num_gpu"] = 2
    assert session.chat_body()["options"] == {"num_gpu": 2}
    slash.do(slash.Desk(session, _Recorder()), "/save mine")


def test_a_text_comes_back_from_the_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, pathlib; f = pathlib.Path(sys.argv[1]); f.write_text(f.read_text().upper() + chr(10))"
    )
    monkeypatch.setenv("HUTCH_EDITOR", f'{sys.executable} -c "{script}"')
    assert editor.edited("hé\nllo") == "HÉ\nLLO"
    assert editor.bindings().bindings


@pytest.mark.parametrize("command", ["/nowhere/editor", "false", 'an "unclosed quote'])
def test_an_editor_that_fails_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("HUTCH_EDITOR", command)
    assert editor.edited("hello") == "hello"
    assert "HUTCH_EDITOR" in capsys.readouterr().err
