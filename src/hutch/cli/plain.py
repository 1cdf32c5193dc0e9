"""Text on stdout and stderr: what comes from a model or a server must not command the terminal. Imports little."""

import sys

from hutch.core.errors import HutchError

_NO_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Text without control characters."""
    return text.translate(_NO_CONTROLS)


def out(text: str) -> None:
    """Print to stdout: as it is, or what a terminal may be given of it."""
    print(printable(text) if sys.stdout.isatty() else text)


def err(text: str) -> None:
    """The same to stderr."""
    print(printable(text) if sys.stderr.isatty() else text, file=sys.stderr)


def error(problem: HutchError) -> None:
    """Tell an error, and what to do."""
    err(f"Error: {problem.message}" + (f"\n{problem.hint}" if problem.hint else ""))
