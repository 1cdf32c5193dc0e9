"""The conversation at a real terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import clean_environment
from tests.fake_ollama import Answer, FakeOllama, chat_lines, serving

_WITHIN_S = 15.0
# Makes the terminal the one whose Ctrl-C reaches the command.
_CONTROLLED = """
import fcntl, sys, termios
from hutch.cli.main import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(main(sys.argv[1:]))
"""


class Terminal:
    """A command at a pseudo-terminal."""

    def __init__(self, words: list[str], **environment: str) -> None:
        master, slave = pty.openpty()
        self._master = master
        self._seen = ""
        variables = clean_environment(
            TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", COLUMNS="80", LINES="24", **environment
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLED, *words],
            env=variables,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str) -> str:
        """Read until the screen shows a pattern, and forget what came up to there."""
        deadline = time.monotonic() + _WITHIN_S
        while not (found := re.search(pattern, self._seen)):
            if time.monotonic() > deadline:
                pytest.fail(f"{pattern!r} did not come; the terminal showed {self._seen!r}")
            if select.select([self._master], [], [], 0.1)[0]:
                self._seen += self._read()
        shown = self._seen[: found.end()]
        self._seen = self._seen[found.end() :]
        return shown

    def wait(self) -> int:
        """The exit code. What is still shown is read, or the command could not end."""
        deadline = time.monotonic() + _WITHIN_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.05)[0]:
                self._seen += self._read()
        return self.process.wait(0)

    def close(self) -> None:
        """End what may still run."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> str:
        try:
            text = os.read(self._master, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            return ""
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", text)


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    answers = {
        "api_show": Answer({"capabilities": ["completion"]}),
        "api_generate": Answer({"done": True, "done_reason": "load"}),
        "api_chat": Answer(lines=chat_lines("Hel", "lo there")),
    }
    with serving(**answers) as served:
        yield served


@pytest.fixture
def terminal(fake: FakeOllama, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(["run", "m"], HUTCH_HOST=fake.host, HUTCH_HOME=str(tmp_path))
    yield opened
    opened.close()


def test_a_conversation(terminal: Terminal, fake: FakeOllama, tmp_path: Path) -> None:
    terminal.expect(r">>> .*Send a message \(/\? for help\)")
    terminal.type("hi\r")
    terminal.expect("Hello there")
    terminal.expect(">>> ")
    terminal.type('"""one\r')
    terminal.expect(r"\.\.\. ")
    terminal.type('two"""\r')
    terminal.expect("Hello there")
    terminal.expect(">>> ")
    terminal.type("/set parameter seed 7\r")
    terminal.expect("Set parameter 'seed' to '7'")
    terminal.expect(">>> ")
    terminal.type("/bye\r")
    assert terminal.wait() == 0
    assert [message["content"] for message in fake.asked("/api/chat")[1]["messages"]] == [
        "hi",
        "Hello there",
        "one\ntwo",
    ]
    history = tmp_path / "history"
    assert "+hi\n" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_g_opens_an_editor(fake: FakeOllama, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "%s, twice\\n" "$(cat "$1")" > "$1"\n')
    editor.chmod(0o700)
    opened = Terminal(["run", "m"], HUTCH_HOST=fake.host, HUTCH_HOME=str(tmp_path), HUTCH_EDITOR=str(editor))
    try:
        opened.expect(">>> ")
        opened.type("hi\x07")
        opened.expect("hi, twice")
        opened.type("\r")
        opened.expect("Hello there")
        assert fake.asked("/api/chat")[0]["messages"] == [{"role": "user", "content": "hi, twice"}]
    finally:
        opened.close()


def test_ctrl_c_at_the_prompt_says_how_to_leave_and_ctrl_d_leaves(terminal: Terminal) -> None:
    terminal.expect(">>> ")
    terminal.type("\x03")
    terminal.expect(r"Use Ctrl \+ d or /bye to exit\.")
    terminal.expect(">>> ")
    terminal.type("\x04")
    assert terminal.wait() == 0


def test_ctrl_c_stops_the_answer_and_the_request(terminal: Terminal, fake: FakeOllama) -> None:
    piece = chat_lines("word ")[0]
    fake.answers["/api/chat"] = Answer(lines=[piece, *([0.02, piece] * 500)])
    terminal.expect(">>> ")
    terminal.type("hi\r")
    terminal.expect("word word")
    terminal.type("\x03")
    terminal.expect(">>> ")
    assert fake.broken_off.wait(5)
    terminal.type("/bye\r")
    assert terminal.wait() == 0


def test_words_wrap_at_a_terminal(fake: FakeOllama, tmp_path: Path) -> None:
    fake.answers["/api/generate"] = Answer(lines=[{"response": "word " * 20, "done": False}, {"done": True}])
    terminal = Terminal(["run", "m", "hi"], HUTCH_HOST=fake.host, HUTCH_HOME=str(tmp_path))
    terminal.type("\x04")
    assert terminal.wait() == 0
    shown = terminal.expect("(word ?){4}\r\n\r\n")
    terminal.close()
    assert max(map(len, shown.split("\r\n"))) <= 80
