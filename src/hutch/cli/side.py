"""Which side does the work: the server where one answers, else the store here."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from hutch import places
from hutch.cli import http
from hutch.core.errors import Unreachable


def either(remote: Callable[[], Any], local: str, *arguments: Any, **named: Any) -> Any:
    """Ask the server; where none runs on this machine, call `local` ("module:function"), imported only then."""
    try:
        told = remote()
    except Unreachable:
        if not is_here():
            raise
        return here(local, *arguments, **named)
    note_settings()
    return told


def here(local: str, *arguments: Any, **named: Any) -> Any:
    """Call a function of a module that is imported only now."""
    module, _, function = local.partition(":")
    return getattr(importlib.import_module(module), function)(*arguments, **named)


@cache
def note_settings() -> None:
    """Say on stderr, once, which settings made here are not those of the server that runs already."""
    ours = places.server_settings()
    theirs = _settings_of_the_server() if ours else {}
    if named := [name for name, value in ours.items() if theirs.get(name) != value]:
        print(
            f"note: {', '.join(named)}: the settings of the running server count, not these", file=sys.stderr
        )


def _settings_of_the_server() -> dict[str, str]:
    """What the server wrote down of itself; nothing where it did not, or cannot be this user's."""
    if not is_here():
        return {}
    try:
        told = json.loads(places.server_note(places.server_address().port).read_text(encoding="utf-8"))
        os.kill(told["pid"], 0)  # else the note is of one that was killed
        return dict(told["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def is_here() -> bool:
    """Whether the server's place is this machine, so that its store is ours."""
    return places.server_address().for_client.is_loopback


def is_answering() -> bool:
    """Whether a server answers."""
    try:
        server_version()
    except Unreachable:
        return False
    return True


def server_version(at: places.Address | None = None, within_s: float = http.ANSWER_S) -> str:
    """The running server's version. Raises Unreachable where there is none."""
    told = http.ask("GET", "/api/version", at=at, within_s=within_s)
    return str(told["hutch"]) if "hutch" in told else f"{told.get('version')} of Ollama's API, and no hutch"
