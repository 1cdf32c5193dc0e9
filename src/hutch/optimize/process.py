"""One step of the job, run in a process of its own and ended with whoever asked for it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from hutch import places
from hutch.core import errors
from hutch.core.errors import EngineFailed, HutchError
from hutch.core.models import Progress

_QUIET = {
    "OLIVE_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_LAST_LINES = 5


def environment() -> dict[str, str]:
    """What a job's process gets of this environment: nothing secret, and no way out to the network that it does not need."""
    return {**places.worker_environment(), **_QUIET}


def run(step: str, log: Path, **asked: Any) -> Generator[Progress, None, Mapping[str, Any]]:
    """Do one step of `hutch.optimize.job`, telling its progress; returns its result. Raises the error that it told."""
    line = json.dumps({"step": step, **{key: _plain(value) for key, value in asked.items()}})
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as words:
        process = subprocess.Popen(
            (sys.executable, "-P", "-m", "hutch.optimize.job"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env=environment(),
            start_new_session=True,  # so that the builder ends with it
        )
    try:
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        for raw in process.stdout:
            said = json.loads(raw)
            if "result" in said:
                result: Mapping[str, Any] = said["result"]
                return result
            if "error" in said:
                raise _told(said["error"])
            yield Progress(said["status"], total=said["total"], completed=said["completed"])
        status = process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
    raise EngineFailed(
        f"the step {step!r} ended with status {status}: {last_words(log)}",
        hint=f"All that it said is in {log}.",
    )


def last_words(log: Path) -> str:
    """The last lines of a log, in one."""
    with log.open("rb") as file:
        lines = deque(file, maxlen=_LAST_LINES)
    return " / ".join(line.decode(errors="replace").strip() for line in lines)[-500:] or "it said nothing"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _told(said: Mapping[str, str]) -> HutchError:
    kind = getattr(errors, said["kind"], HutchError)
    found: HutchError = kind(said["message"], hint=said["hint"])
    return found
