"""`hutch task` with a scripted server: what is sent, what is shown, and what is refused before anything is sent."""

import base64
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.cli.main import main
from tests.conftest import clean_environment
from tests.fake_ollama import Answer, FakeOllama, serving

Hutch = Callable[..., tuple[int, str, str]]
ASKED = {"model": "m"}
PNG = base64.b64encode(b"png").decode()
PICTURE = {"image": base64.b64encode(b"new").decode(), "width": 4, "height": 2, "media_type": "image/png"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeOllama]:
    with serving() as served:
        for name, value in clean_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HUTCH_HOST", served.host)
        monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        Path("note.txt").write_text("Hi", "utf-8-sig")
        Path("form.json").write_text('{"type": "object"}')
        Path("x.png").write_bytes(b"png")
        yield served


@pytest.fixture
def hutch(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hutch:
    """Run a command in this process: the exit code, stdout and stderr."""

    def run(*words: str, piped: bytes = b"Piped") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        code = main(words)
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.mark.parametrize(
    ("words", "sent", "reply"),
    [
        (["summarize", "note.txt"], {}, ({"summary": "H"}, "H\n")),
        (
            ["summarize", "--max-words", "9", "note.txt", "--language", "German", "--num-ctx", "512"],
            {"max_words": 9, "language": "German", "options": {"num_ctx": 512}},
            ({"summary": "H"}, "H\n"),
        ),
        (["rewrite", "note.txt", "--style", "polite"], {"style": "polite"}, ({"text": "Dear"}, "Dear\n")),
        (["translate", "note.txt", "--to", "French"], {"to": "French"}, ({"text": "Salut"}, "Salut\n")),
        (["classify", "note.txt", "--labels", "a, b,"], {"labels": ["a", "b"]}, ({"label": "b"}, "b\n")),
        (["extract", "note.txt", "--fields", "a"], {"fields": ["a"]}, ({"data": {"a": "ä"}}, '{\n  "a": "ä"\n}\n')),
        (["extract", "note.txt", "--schema", "form.json"], {"schema": {"type": "object"}}, ({"data": 1}, "1\n")),
        (
            ["table", "note.txt", "--columns", "a,b"],
            {"columns": ["a", "b"]},
            ({"columns": ["a", "b"], "rows": [["1, 2", None]]}, 'a,b\n"1, 2",\n'),
        ),
        (["redact", "note.txt", "--names", "person"], {"names": ["person"]}, ({"text": "H"}, "H\n")),
    ],
)  # fmt: skip
def test_a_text_and_flags_become_a_request(
    fake: FakeOllama, hutch: Hutch, words: list[str], sent: Any, reply: tuple[Any, str]
) -> None:
    told, shown = reply
    path = f"/api/tasks/{words[0]}"
    fake.answers[path] = Answer(told)
    assert hutch("task", *words, "--model", "m") == (0, shown, "")
    assert fake.asked(path) == [{"text": "Hi", "model": "m", **sent}]
    code, out, _ = hutch("task", *words, "--model", "m", "--json")
    assert (code, json.loads(out)) == (0, told)


@pytest.mark.parametrize("file", [[], ["-"]])
def test_without_a_file_standard_input_is_read(fake: FakeOllama, hutch: Hutch, file: list[str]) -> None:
    fake.answers["/api/tasks/redact"] = Answer({"text": "P", "found": []})
    assert hutch("task", "redact", *file) == (0, "P\n", "")
    assert fake.asked("/api/tasks/redact") == [{"text": "Piped"}]


def test_a_picture_is_sent(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/tasks/ocr"] = Answer({"text": "a\nb", "lines": []})
    assert hutch("task", "ocr", "x.png") == (0, "a\nb\n", "")
    assert hutch("task", "ocr", "-", piped=b"png")[0] == 0
    assert fake.asked("/api/tasks/ocr") == [{"image": PNG}] * 2
    fake.answers["/api/tasks/describe"] = Answer({"description": "White."})
    assert hutch("task", "describe", "x.png", "--model", "m", "--prompt", "Why?") == (0, "White.\n", "")
    assert fake.asked("/api/tasks/describe") == [{"image": PNG, "model": "m", "prompt": "Why?"}]


def test_a_better_picture_is_written(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/tasks/enhance"] = Answer(PICTURE)
    code, out, err = hutch("task", "enhance", "x.png", "--output", "y.jpg", "--scale", "0.5", "--denoise")
    assert (code, out, err) == (0, "", "y.jpg: 4 × 2 pixels\n")
    assert Path("y.jpg").read_bytes() == b"new"
    wanted = {"scale": 0.5, "denoise": True, "contrast": False, "sharpen": False, "format": "jpeg"}
    assert fake.asked("/api/tasks/enhance") == [{"image": PNG, **wanted}]
    code, _, err = hutch("task", "enhance", "x.png", "--output", "nowhere/y.png")
    assert (code, "No such file" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["summarize", "note.txt"], "required: --model"),
        (["translate", "note.txt", "--model", "m"], "required: --to"),
        (["classify", "note.txt", "--model", "m"], "required: --labels"),
        (["summarize", "absent.txt", "--model", "m"], "absent.txt: No such file"),
        (["summarize", "bad.txt", "--model", "m"], "not a text in UTF-8"),
        (["extract", "note.txt", "--model", "m", "--schema", "note.txt"], "note.txt: no JSON"),
        (["extract", "note.txt", "--model", "m", "--schema", "absent"], "absent: No such file"),
        (["ocr"], "required: FILE"),
        (["enhance", "x.png"], "required: --output"),
        (["enhance", "x.png", "--output", "y.gif"], "a picture of an unknown type"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_sent(
    fake: FakeOllama, hutch: Hutch, words: list[str], said: str
) -> None:
    Path("bad.txt").write_bytes(b"\xff\xfe\xfd")
    code, out, err = hutch("task", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert not any(request.path.startswith("/api/tasks") for request in fake.requests)


def test_what_the_server_refuses_is_told(fake: FakeOllama, hutch: Hutch) -> None:
    refusal = {
        "error": "this server has no OCR: x",
        "code": "not_built",
        "hint": "Run pip install 'hutch[ocr]' there.",
    }
    fake.answers["/api/tasks/ocr"] = Answer(refusal, status=400)
    assert hutch("task", "ocr", "x.png") == (
        2,
        "",
        "Error: this server has no OCR: x\nRun pip install 'hutch[ocr]' there.\n",
    )
