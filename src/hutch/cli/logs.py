"""`hutch logs`: what a model's worker, or the server, wrote."""

import argparse
import sys
import time
from collections import deque
from pathlib import Path

from hutch import places
from hutch.cli.plain import printable
from hutch.core.errors import BadInput, NotFound
from hutch.core.names import ModelName

_LOOK_EVERY_S = 0.2


def logs(args: argparse.Namespace) -> None:
    """Print the last lines, and with -f what comes after them."""
    if args.lines < 0:
        raise BadInput("-n takes a number of lines")
    path = places.log_file(ModelName.parse(args.model).short) if args.model else places.server_log()
    if not path.is_file():
        what = f"model '{args.model}'" if args.model else "a server"
        raise NotFound(f"no log of {what}: {path}", hint="Only what has run on this machine has one.")
    with path.open(encoding="utf-8", errors="replace") as file:
        _write("".join(deque(file, maxlen=args.lines)))
        position = file.tell()
    if args.follow:
        _follow(path, position)


def _write(text: str) -> None:
    """An engine logs what a model's file says of itself, which must not command the terminal."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _follow(path: Path, position: int) -> None:
    """Print what is appended, until Ctrl-C. A log that was begun anew is read from its start."""
    while True:
        size_bytes = path.stat().st_size if path.is_file() else 0
        if size_bytes < position:
            position = 0
        if size_bytes > position:
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(position)
                _write(file.read())
                position = file.tell()
        time.sleep(_LOOK_EVERY_S)
