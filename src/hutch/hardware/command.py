"""A program of the system that is asked for facts."""

import json
import subprocess
from typing import Any

_WITHIN_S = 10.0  # a driver that hangs must not take us with it


def output(*words: str, within_s: float = _WITHIN_S) -> str:
    """What a program prints; "" where it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=within_s, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def rows(text: str) -> list[dict[str, Any]]:
    """The objects of a JSON text: of a list, or the one that it is."""
    try:
        told = json.loads(text or "[]")
    except ValueError:
        return []
    return [row for row in (told if isinstance(told, list) else [told]) if isinstance(row, dict)]
