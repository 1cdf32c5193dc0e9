"""What a terminal is given of a model's text, and what a pipe is."""

import argparse
import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hutch.cli import http, logs, main, repl, show, slash
from hutch.cli.session import Session
from hutch.core.errors import NotFound

HOSTILE = "a\x1b[2Jb\x9bc"
Check = Callable[[Callable[[], object]], None]


class _Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def check(request: pytest.FixtureRequest) -> Check:
    """Do something that prints the hostile text, and look at what has been printed."""

    def look(work: Callable[[], object]) -> None:
        stream = _Stream(is_terminal=request.param)
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            work()
        text = stream.getvalue()
        assert (HOSTILE in text, "a[2Jbc" in text) == (not request.param, request.param)

    return look


class _Server:
    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        del path, body
        return {"license": HOSTILE, "parameters": HOSTILE, "system": HOSTILE, "capabilities": [HOSTILE]}

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        raise NotFound(HOSTILE, hint=f"{path} {body}")


class _Recorder:
    is_recording = True


@pytest.mark.parametrize("line", ["/show license", "/show system", "/show parameters", "/show info", "hi"])
def test_a_conversation_shows_a_models_text(check: Check, line: str) -> None:
    check(lambda: repl.turn(slash.Desk(Session(_Server(), "m"), _Recorder()), line))


@pytest.mark.parametrize("part", [None, "license", "system"])
def test_show_shows_it(check: Check, monkeypatch: pytest.MonkeyPatch, part: str | None) -> None:
    monkeypatch.setattr(http, "ask", lambda *_: _Server().ask("", {}))
    check(
        lambda: show.show(
            argparse.Namespace(model="m", verbose=False, json=False, parts=[part] if part else None)
        )
    )


def test_errors_tell_it(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> None:
        raise NotFound(HOSTILE)

    monkeypatch.setattr(http, "ask", ask)
    check(lambda: main.main(["show", "m"]))


def test_logs_show_it(check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "server.log").write_text(f"{HOSTILE}\n", encoding="utf-8")
    check(lambda: logs.logs(argparse.Namespace(model=None, lines=5, follow=False)))
