"""A server started in the background, for `hutch run`."""

import contextlib
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


def ensure() -> None:
    """Have a server answer at the address: the one that does, or a new one on this machine."""
    if side.is_answering():
        side.note_settings()
        return
    if not places.server_address().is_loopback:  # one that listens to others is for a person to start
        raise http.unreachable(places.server_address())
    _await(_start())
    print(
        "started a server in the background (it leaves five minutes after its last request)", file=sys.stderr
    )


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
            start_new_session=True,
            creationflags=detached,
        )


def _rotate(log: Path) -> None:
    """Put a log that has grown long aside, in place of the one before it."""
    if log.is_file() and log.stat().st_size > _LONGEST_LOG_BYTES:
        with contextlib.suppress(OSError):  # Windows keeps a file that another process has open
            log.replace(log.with_name(f"{log.name}.1"))


def _await(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while not side.is_answering():
        if server.poll() is not None and not side.is_answering():
            raise Unreachable(
                f"the server did not start (exit code {server.returncode})",
                hint=f"Look at {places.server_log()}.",
            )
        if time.monotonic() > deadline:
            server.terminate()
            raise Unreachable(
                f"the server was not ready after {_READY_WITHIN_S:.0f} s",
                hint=f"Look at {places.server_log()}.",
            )
        time.sleep(_LOOK_EVERY_S)
    server.returncode = 0  # it outlives this command: no ResourceWarning about that
