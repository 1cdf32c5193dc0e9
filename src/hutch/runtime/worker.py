"""One worker process: started, watched, ended."""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hutch import places
from hutch.core.errors import EngineFailed, HutchError
from hutch.engines.client import WorkerClient
from hutch.engines.protocol import ENGINES, Endpoint, LaunchPlan
from hutch.files import is_running
from hutch.runtime import logs, machine

_STAMP = re.compile(r"\d+\.\d\d\.\d{3}\.\d{3} [A-Z] ")  # of llama.cpp: how long it runs, and how bad it is
_log = logging.getLogger(__name__)
_POLL_S = 0.02
_MAX_WORDS_BYTES = 64 << 10
_GRACE_S = 3.0
_MAX_SOCKET_PATH_BYTES = 100
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGBUS)
# How long the engine's threads spin at a barrier before they sleep: see ADR 0008.
# When llama.cpp aborts, it has a debugger say where, whose words are then the last in the log.
_ENGINE_ENVIRONMENT = {"GOMP_SPINCOUNT": "1000", "GGML_NO_BACKTRACE": "1"}
_A_CORE_EACH = {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}
_DEBUGGERS = re.compile(
    r"\[(?:New LWP|Inferior|Thread debugging)|#\d+ |0x[0-9a-f]+ in |Using host libthread_db|(?:warning: )?ptrace|Could not attach"
)
_ABORTS = ("GGML_ASSERT", "GGML_ABORT")


class SocketFolder:
    """A folder for sockets that only this user can enter, and that goes away with the server."""

    def __init__(self, *, unix: bool = hasattr(socket, "AF_UNIX")) -> None:
        self._path = _fresh_folder() if unix else None
        self._count = 0

    def next_endpoint(self) -> Endpoint:
        """An address that no worker has had yet."""
        if self._path is None:
            return Endpoint(port=_free_port(), secret=secrets.token_urlsafe(32))
        self._count += 1
        return Endpoint(socket=str(self._path / f"{self._count}.sock"))

    def close(self) -> None:
        """Remove the folder."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)


class Worker:
    """One process that holds one model. `start` it once; it is then ready until it ends."""

    def __init__(self, plan: LaunchPlan, log: Path) -> None:
        self.plan = plan
        self._log = log
        self._log_begin = 0  # where this worker's own words begin in it
        self._process: asyncio.subprocess.Process | None = None
        self._client: WorkerClient | None = None
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        """The process id while it runs; None as soon as the system knows that it has ended."""
        process = self._process
        if process is None or process.returncode is not None or _has_ended(process.pid):
            return None
        return process.pid

    @property
    def crash(self) -> str | None:
        """The signal that ended it, where it was not Hutch that sent it."""
        status = self._process.returncode if self._process else None
        is_crash = status is not None and -status in _CRASHES
        return signal.Signals(-status).name if is_crash and status is not None else None

    @property
    def client(self) -> WorkerClient:
        """The way to talk to it, once it has started."""
        if self._client is None:
            raise EngineFailed("the model's worker is not running", hint="Send the request again.")
        return self._client

    async def start(self, timeout_s: float) -> None:
        """Launch the process and wait until it answers. Raises EngineFailed with the engine's last words."""
        with logs.open_to_add(self._log) as log:
            self._log_begin = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", ENGINES[self.plan.engine]),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that its whole process tree can be ended
                env={**_engine_environment(self.plan.num_thread), **places.worker_environment()},
            )
        self._client = WorkerClient(self.plan.endpoint)
        try:
            self._stdin.write(self.plan.dumps())
            await self._stdin.drain()
            await asyncio.wait_for(self._healthy(), timeout_s)
            if self.plan.binary:  # ours does it itself
                _unbind(self._process.pid)
        except TimeoutError as error:
            await self.stop()
            raise EngineFailed(
                f"the model did not load within {timeout_s:g} s",
                hint="Raise HUTCH_LOAD_TIMEOUT, or see `hutch logs MODEL`.",
            ) from error
        except (asyncio.CancelledError, HutchError, ConnectionError):
            await self.stop()
            raise

    async def trim_log(self) -> None:
        """Keep the log from growing without end."""
        await asyncio.to_thread(logs.trim, self._log)

    async def wait(self) -> int:
        """Wait for the process to end; returns its exit status."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """End the process and everything that it started."""
        process = self._process
        if process is not None:
            if process.returncode is None:
                _signal_group(process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _GRACE_S)
            _signal_group(process.pid, signal.SIGKILL)
            await process.wait()
            self._stdin.close()
        if self.plan.endpoint.socket:
            _remove(self.plan.endpoint.socket)

    @property
    def _stdin(self) -> asyncio.StreamWriter:
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        return self._process.stdin

    async def _healthy(self) -> None:
        assert self._process is not None  # noqa: S101
        while True:
            if self._process.returncode is not None:
                words = self._last_words()
                missing = "libgomp" in words  # the one library that the engine's wheel expects of the system
                hint = (
                    "Install it: apt-get install libgomp1"
                    if missing
                    else "See `hutch logs MODEL` for all of it."
                )
                raise EngineFailed(f"the engine could not load the model: {words}", hint=hint)
            try:
                await self.client.get("/health")
            except EngineFailed:
                await asyncio.sleep(_POLL_S)
            else:
                return

    def _last_words(self) -> str:
        """The engine's first line that tells of an error, for the later ones follow from it; or else the last line that is its own."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(self._log_begin, log.seek(0, os.SEEK_END) - _MAX_WORDS_BYTES))
                words = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
                lines = [line for line in words if line and not _DEBUGGERS.match(line)]
        except OSError:
            lines = []
        engines = [line for line in lines if " E " in line or any(word in line for word in _ABORTS)][:1]
        errors = [line for line in lines if "error" in line.lower()]
        said = (engines or errors or lines or ["it said nothing"])[-1]
        return _STAMP.sub("", said)[-300:]


def _engine_environment(num_thread: int) -> dict[str, str]:
    """What an engine is told of its threads, unless this environment says otherwise.

    Where there are as many as cores, each has its own: two on one core would wait for each other, and while something else wants that
    core too, the system sees nothing to mend. Where there are fewer, those of several workers would share the first cores.
    """
    is_one_each = num_thread == machine.num_physical()
    return {**_ENGINE_ENVIRONMENT, **(_A_CORE_EACH if is_one_each else {})}


def _unbind(pid: int) -> None:
    """Let the threads that answer requests run on any core.

    OpenMP binds the first thread of a process when it is loaded, and the others inherit its core. Those that compute have each another one.
    """
    for task in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        thread = int(task.name)
        with contextlib.suppress(OSError):  # it has ended
            if thread != pid and os.sched_getaffinity(thread) == os.sched_getaffinity(pid):
                os.sched_setaffinity(thread, machine.processors())


def with_endpoint(plan: LaunchPlan, endpoint: Endpoint) -> LaunchPlan:
    """The same plan, at a fresh address."""
    return replace(plan, endpoint=endpoint)


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, also where the event loop was not told yet. Leaves its status to be read."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nothing of it is left


def _fresh_folder() -> Path | None:
    """A folder with a short enough path; None where there is none, and workers then listen on loopback ports."""
    for parent in places.socket_parents():
        if len(os.fsencode(parent)) + 40 > _MAX_SOCKET_PATH_BYTES or not os.access(parent, os.W_OK):
            continue
        _sweep(parent)
        return Path(tempfile.mkdtemp(prefix=f"hutch-{os.getpid()}-", dir=parent))  # mode 0700
    _log.warning("no folder with a short path for the workers' sockets: they listen on loopback ports")
    return None


def _sweep(parent: Path) -> None:
    """Remove this user's socket folders whose server was killed."""
    for folder in parent.glob("hutch-*-*"):
        owner = folder.name.split("-")[1]
        try:
            info = folder.lstat()
        except FileNotFoundError:  # another server has swept it
            continue
        if (
            owner.isdigit()
            and stat.S_ISDIR(info.st_mode)
            and info.st_uid == os.getuid()
            and not is_running(int(owner))
        ):
            shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
