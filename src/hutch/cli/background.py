"""A server started in the background, for `hutch run`."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from hutch import places
from hutch.cli import http, side
from hutch.core.errors import Unreachable

IDLE_EXIT_S = 300
_READY_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.05
_LONGEST_LOG_BYTES = 8 << 20


def ensure(*, deploys: bool = False) -> None:
    """Have a server answer at the address: the one that does, or a new one on this machine."""
    if side.is_answering():
        side.note_settings()
        return
    if not places.server_address().is_loopback:  # one that listens to others is for a person to start
        raise http.unreachable(places.server_address())
    log = places.server_log()
    before_bytes = log.stat().st_size if log.exists() else 0
    _await(_start(), log, before_bytes)
    until = "while something is deployed" if deploys else "it leaves five minutes after its last request"
    print(f"started a server in the background ({until})", file=sys.stderr)


def _start() -> subprocess.Popen[bytes]:
    log = places.server_log()
    log.parent.mkdir(parents=True, exist_ok=True)
    _rotate(log)
    log.touch(mode=0o600)
    command = [sys.executable, "-m", "hutch", "serve", "--idle-exit", str(IDLE_EXIT_S)]
    # Away from this terminal, so that neither its Ctrl-C nor its end reaches the server.
    detached = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=places.home(),
            env=places.server_environment(),
            start_new_session=True,
            creationflags=detached,
        )


def _rotate(log: Path) -> None:
    """Put a log that has grown long aside, in place of the one before it."""
    if log.is_file() and log.stat().st_size > _LONGEST_LOG_BYTES:
        with contextlib.suppress(OSError):  # Windows keeps a file that another process has open
            log.replace(log.with_name(f"{log.name}.1"))


def _await(server: subprocess.Popen[bytes], log: Path, before_bytes: int) -> None:
    """Return once the server answers. Raises Unreachable in the server's own words where it does not."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while not side.is_answering():
        if server.poll() is not None and not side.is_answering():
            raise Unreachable(
                f"the server did not start: {_last_words(log, before_bytes) or f'exit code {server.returncode}'}",
                hint=f"All that it said is in {log}.",
            )
        if time.monotonic() > deadline:
            server.terminate()
            raise Unreachable(
                f"the server was not ready after {_READY_WITHIN_S:.0f} s", hint=f"Look at {log}."
            )
        time.sleep(_LOOK_EVERY_S)
    server.returncode = 0  # it outlives this command: no ResourceWarning about that


def _last_words(log: Path, before_bytes: int) -> str:
    """The error that the server ended with, and what it says to do."""
    with log.open("rb") as said:
        is_new = said.seek(0, os.SEEK_END) < before_bytes  # the old one was put aside
        said.seek(0 if is_new else before_bytes)
        lines = said.read().decode(errors="replace").splitlines()
    errors = [at for at, line in enumerate(lines) if line.startswith("Error: ")]
    return " ".join(lines[errors[-1] :]).removeprefix("Error: ") if errors else ""
