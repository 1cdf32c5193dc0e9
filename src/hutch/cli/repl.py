"""The conversation at the terminal: reads lines, and gives them to the model or to the slash commands."""

from collections.abc import Callable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory

from hutch import places
from hutch.cli import answer, editor, images, plain, slash
from hutch.cli.session import Session
from hutch.core.errors import HutchError

_FENCE = '"""'
Ask = Callable[[str, str], str]


def talk(session: Session) -> None:
    """Load the model, then converse until the user leaves."""
    for _ in session.server.stream("/api/generate", session.load_body()):
        pass
    history = _History(places.history_file())
    reader: PromptSession[str] = PromptSession(history=history, key_bindings=editor.bindings())

    def ask(mark: str, placeholder: str) -> str:
        return reader.prompt(mark, placeholder=FormattedText([("ansibrightblack", placeholder)]))

    desk = slash.Desk(session, history)
    while True:
        try:
            if not turn(desk, read(ask)):
                return
        except KeyboardInterrupt:
            print("\nUse Ctrl + d or /bye to exit.")
        except EOFError:
            print()
            return


def read(ask: Ask) -> str:
    '''Read one message, which goes over several lines between two `"""`.'''
    text = ask(">>> ", "Send a message (/? for help)")
    while text.count(_FENCE) % 2:
        text += "\n" + ask("... ", f"Use {_FENCE} to end multi-line input")
    return text


def turn(desk: slash.Desk, text: str) -> bool:
    """Do what one message asks for. False: the user leaves."""
    if not text.strip():
        return True
    try:
        is_picture = "vision" in desk.session.capabilities and images.names_a_file(text)
        if text.startswith("/") and not is_picture:
            return slash.do(desk, text)
        _answer(desk.session, unfenced(text))
    except HutchError as error:
        plain.error(error)
    return True


def unfenced(text: str) -> str:
    """A message without the quotes around it."""
    text = text.strip()
    if not text.startswith(_FENCE):
        return text
    return text.removeprefix(_FENCE).removesuffix(_FENCE).strip("\n")


def _answer(session: Session, text: str) -> None:
    session.say(text)  # which fails where a picture is none
    heard = ""
    try:
        heard = answer.show(session, session.server.stream("/api/chat", session.chat_body()))
    except answer.Stopped as stopped:
        heard = stopped.text
        print("\n")
    finally:
        session.hear(heard)


class _History(FileHistory):
    """What was typed, in a file that others cannot read; `is_recording` can be switched off."""

    def __init__(self, file: Path | None) -> None:
        self.is_recording = file is not None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
        super().__init__(str(file or ""))

    def load_history_strings(self) -> list[str]:
        return list(super().load_history_strings()) if self.filename else []

    def store_string(self, string: str) -> None:
        if self.is_recording and self.filename:
            super().store_string(string)
