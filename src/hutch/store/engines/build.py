"""A llama-server built for this very machine: fetched, compiled, tried, and only then put in its place."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from hutch import places
from hutch.core.errors import Conflict, EngineFailed, NoRoom, NotFound
from hutch.core.models import Progress
from hutch.store import installed, room
from hutch.store.engines import source
from hutch.store.lock import Lock

KINDS = ("cpu", "cuda")
_NEEDED_BYTES = {"cpu": 700 << 20, "cuda": 4 << 30}  # a build for a CPU was measured at 380 MB
_TOOLS = ("cmake==4.2.3", "ninja==1.13.0")
_COMPILERS = ("c++", "g++", "clang++", "cl")
_ERROR = re.compile(r"\berror\b", re.IGNORECASE)
_STEP = re.compile(r"\[(\d+)/(\d+)\] ")  # ninja's count
_FLAGS = (
    *("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON"),
    *("-DGGML_CCACHE=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"),
    *("-DLLAMA_BUILD_TOOLS=ON", "-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_APP=OFF"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"),  # the latter would be fetched while building
)


def likely_kind() -> str:
    """For a GPU of NVIDIA's where there is one and its compiler is on the PATH, else for the processor."""
    return "cuda" if shutil.which("nvcc") and _has_gpu() else "cpu"


def _has_gpu() -> bool:
    return bool(shutil.which("nvidia-smi")) or Path("/dev/nvidiactl").exists()


def build(root: Path, name: str, kind: str, jobs: int) -> Generator[Progress, None, None]:
    """Build an engine and install it below `root`. Raises what hindered it; then nothing new looks whole."""
    installed.checked_name(name)
    _check_compilers(kind)
    root.mkdir(parents=True, exist_ok=True)
    with Lock(root, "build") as lock:
        if not lock.try_acquire():
            raise Conflict("another process is building an engine", hint="Wait until it is done, or end it.")
        for left in root.glob(".building-*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        _check_room(root, kind)
        (root / name).mkdir(exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".building-", dir=root, ignore_cleanup_errors=True) as work,
            (root / name / "build.log").open("w", encoding="utf-8") as log,
            room.guarded(root),
        ):
            yield from source.fetch(root, Path(work, "source"))
            built = yield from compile_source(Path(work), kind, jobs, log)
            installed.install(root, name, kind, source.NAME, built)
    yield Progress("success")


def compile_source(work: Path, kind: str, jobs: int, log: IO[str]) -> Generator[Progress, None, Path]:
    """Compile `work/source`, see that what came of it runs, and return the folder of the programs."""
    environment = yield from _tools(work, log)
    target = work / "build"
    yield Progress("configuring")
    cuda = f"-DGGML_CUDA={'ON' if kind == 'cuda' else 'OFF'}"
    configure = ("cmake", "-S", str(work / "source"), "-B", str(target), *_FLAGS, cuda)
    deque(_run(configure, log, environment), maxlen=0)
    make = ("cmake", "--build", str(target), "-j", str(jobs), "--target", *installed.PROGRAMS)
    for line in _run(make, log, environment):
        if step := _STEP.match(line):
            yield Progress("compiling", total=int(step[2]), completed=int(step[1]))
    yield Progress("trying it")
    deque(_run((str(target / "bin" / installed.PROGRAMS[0]), "--version"), log, environment), maxlen=0)
    return target / "bin"


def _check_compilers(kind: str) -> None:
    if not any(map(shutil.which, _COMPILERS)):
        raise NotFound("there is no C++ compiler on the PATH", hint="Install one: apt-get install g++")
    if kind == "cuda" and not shutil.which("nvcc"):
        raise NotFound(
            "nvcc, the CUDA compiler, is not on the PATH",
            hint="Install the CUDA toolkit: apt-get install nvidia-cuda-toolkit; or build with --kind cpu.",
        )
    if kind == "cuda" and not _has_gpu():  # cmake asks it what to build for
        raise NotFound("no NVIDIA GPU answers on this machine", hint="Build with --kind cpu.")


def _check_room(root: Path, kind: str) -> None:
    free_bytes, needed_bytes = shutil.disk_usage(root).free, _NEEDED_BYTES[kind]
    if free_bytes < needed_bytes:
        raise NoRoom(
            f"a build in {root} needs {room.readable(needed_bytes)}, and {room.readable(free_bytes)} are free",
            hint="Free some, or set HUTCH_HOME to a folder on a larger disk.",
        )


def _tools(work: Path, log: IO[str]) -> Generator[Progress, None, Mapping[str, str]]:
    """The environment of a build: where cmake or ninja is missing, both are installed beside it for the time."""
    if shutil.which("cmake") and shutil.which("ninja"):
        return places.build_environment()
    yield Progress("fetching cmake and ninja")
    folder = work / "tools"
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    here = places.build_environment()
    pip = (str(programs / "python"), "-m", "pip", "install", "--quiet", *_TOOLS)
    try:
        for command in ((sys.executable, "-m", "venv", str(folder)), pip):
            deque(_run(command, log, here), maxlen=0)
    except EngineFailed as error:
        raise EngineFailed(
            f"cmake and ninja are missing, and could not be fetched: {error.message}",
            hint="Install them: apt-get install cmake ninja-build",
        ) from error
    return places.build_environment(programs)


def _run(command: Sequence[str], log: IO[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Run a command to its end, line by line, all of it into the log. Raises EngineFailed with its last words."""
    print(f"$ {' '.join(command)}", file=log, flush=True)
    last: deque[str] = deque(maxlen=400)
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that its compilers can be ended with it
        )
    except OSError as error:
        raise EngineFailed(f"{command[0]} cannot be run: {error.strerror}") from error
    with process:
        assert process.stdout is not None  # noqa: S101
        try:
            for line in process.stdout:
                log.write(line)
                last.append(line.strip())
                yield line
        except BaseException:  # Ctrl-C, or nobody wants to know how it ends
            _end(process)
            raise
    log.flush()
    if process.returncode:
        raise EngineFailed(
            f"{Path(command[0]).name} failed: {_told(last) or f'status {process.returncode}'}",
            hint=f"All of it is in {log.name}.",
        )


def _told(lines: Sequence[str]) -> str:
    """The line that tells of the first error, or else the last line."""
    said = [line for line in lines if line]
    at = next((at for at, line in enumerate(said) if _ERROR.search(line)), len(said) - 1)
    reach = 2 if said and said[at].endswith(":") else 1  # cmake says where, and below it what
    return " ".join(said[at : at + reach])[:300]


def _end(process: "subprocess.Popen[str]") -> None:
    if os.name == "nt":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
