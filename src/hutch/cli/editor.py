"""Ctrl-g: what is being typed goes through a text editor."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from hutch import places
from hutch.cli import plain


def bindings() -> KeyBindings:
    """The key, and what it does."""
    keys = KeyBindings()

    @keys.add("c-g")
    def open_editor(event: KeyPressEvent) -> None:
        buffer = event.current_buffer

        async def edit() -> None:
            buffer.text = await run_in_terminal(lambda: edited(buffer.text), in_executor=True)
            buffer.cursor_position = len(buffer.text)

        event.app.create_background_task(edit())

    return keys


def edited(text: str) -> str:
    """What a person makes of a text; the text itself where the editor fails."""
    command = places.editor() or ("notepad" if sys.platform == "win32" else "vi")
    with tempfile.TemporaryDirectory(prefix="hutch-") as folder:
        file = Path(folder) / "prompt.txt"
        file.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(command), str(file)], check=True)
            return file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            plain.err(f"Error: the editor {command!r} failed: {error}\nName another one in HUTCH_EDITOR.")
            return text
