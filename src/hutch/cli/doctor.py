"""`hutch doctor`: whether this installation can do its work, and what to do where it cannot."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import hutch
from hutch import config, places
from hutch.cli import columns, configuration, plain, side
from hutch.core.errors import FormatError, HutchError, Unreachable
from hutch.runtime import keeping, machine
from hutch.security import sealing_key
from hutch.store import installed, kept, layout, listing, manifests, sweep
from hutch.store.blobs import Blobs
from hutch.store.local import local_catalog

_LITTLE_DISK_BYTES = 2 * 10**9
_LITTLE_MEMORY_BYTES = 10**9
_ENGINE_WITHIN_S = 60.0
_PYTHON = (3, 11)


class Check(NamedTuple):
    """What one look found. `next_step` says what to do, where something is to be done."""

    name: str
    status: Literal["ok", "warn", "fail"]
    message: str
    next_step: str = ""


def doctor(args: argparse.Namespace) -> int:
    """Look at everything. The exit code is 1 where something fails."""
    found: list[Check] = []
    for check in checks():
        found.append(check)
        if not args.json:
            plain.out(f"{check.status:<5} {check.name}: {check.message}")
            if check.next_step:
                plain.out(f"      → {check.next_step}")
            sys.stdout.flush()
    if args.json:
        print(json.dumps({"checks": [check._asdict() for check in found]}, indent=2))
    return int(any(check.status == "fail" for check in found))


def checks() -> Iterator[Check]:
    """Look at everything."""
    for look in _LOOKS:
        yield from look()


def _versions() -> Iterator[Check]:
    step = "" if sys.version_info >= _PYTHON else "Install Python 3.11 or newer."
    yield Check("python", "fail" if step else "ok", f"{platform.python_version()} ({sys.executable})", step)
    yield Check("hutch", "ok", hutch.__version__)


def _folders() -> Iterator[Check]:
    for name, of in (("home", places.home), ("model folder", places.models)):
        try:
            folder = of()
        except HutchError as error:
            yield Check(name, "fail", error.message, error.hint)
            continue
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
            setting = "HUTCH_HOME" if name == "home" else "HUTCH_MODELS"
            yield Check(
                name, "fail", f"{folder} cannot be written to", f"Change its rights, or set {setting}."
            )
            continue
        free_bytes = shutil.disk_usage(there).free
        step = "" if free_bytes > _LITTLE_DISK_BYTES else "Make room: 'hutch prune', or 'hutch rm'."
        size = columns.human_size(free_bytes)
        yield Check(name, "warn" if step else "ok", f"{folder}, {size} free", step)


def _settings() -> Iterator[Check]:
    """What a server would stumble over when it starts or pulls."""
    try:
        settings = config.load()
        known = local_catalog()
    except HutchError as error:
        yield Check("settings", "fail", error.message, error.hint)
        return
    binary = settings.llama_server
    if binary is not None and not os.access(binary, os.X_OK):
        yield Check("settings", "fail", f"{binary} cannot be run", "Mend HUTCH_LLAMA_SERVER, or unset it.")
    else:
        num_models = len(known.cards) + len(known.alone)
        yield Check("settings", "ok", f"they are in order; the catalog has {num_models} models")
    for note in known.notes:
        yield Check("catalog", "warn", note.removeprefix("note: "), "Look at the address and the network.")
    try:
        binary_in_use = installed.binary_in_use(places.engines(), binary)
    except HutchError as error:
        yield Check("engine in use", "fail", error.message, error.hint)
    else:
        yield Check("engine in use", "ok", binary_in_use or "the one that comes with Hutch")


def _engine() -> Iterator[Check]:
    """Import the engine in a process of its own: it must never be imported in this one."""
    code = "import importlib.metadata as m, xllamacpp; print(m.version('xllamacpp'))"
    try:
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_ENGINE_WITHIN_S, check=True
        )
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        yield Check(
            "engine",
            "fail",
            f"xllamacpp cannot be imported: {why}",
            "apt-get install libgomp1" if "libgomp" in why else "pip install --force-reinstall xllamacpp",
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        yield Check(
            "engine", "fail", f"xllamacpp cannot be imported: {error}", "Try again when less is going on."
        )
    else:
        yield Check("engine", "ok", f"xllamacpp {told.stdout.strip()}")


def _kept() -> Iterator[Check]:
    """Whether what contexts hold outlives a model's unload, and by which key."""
    try:
        settings = config.load()
    except HutchError:
        return  # which was told
    if not settings.max_kv_disk or not keeping.HAS_MEMORY_FILES:
        why = "max_kv_disk is 0" if not settings.max_kv_disk else "this system has no files in memory"
        yield Check("kept prompts", "ok", f"none outlives its model: {why}")
        return
    found = sealing_key.find(settings.key_file)
    size = columns.human_size(kept.size_bytes(places.kept_states()))
    if found.remark:
        yield Check("kept prompts", "warn", found.remark, f"chmod 600 {settings.key_file}")
    elif found.secret is not None:
        yield Check("kept prompts", "ok", f"{size} on disk, sealed with {found.told}")
    else:
        step = "Set HUTCH_KEY_FILE to a file of 32 random bytes, or pip install 'hutch[keyring]'."
        is_wrong = settings.key_file is not None
        yield Check(
            "kept prompts", "fail" if is_wrong else "ok", f"none outlives its model: {found.told}", step
        )


def _tuned() -> Iterator[Check]:
    """Whether what `hutch tune` found is for this machine and the engine in use."""
    try:
        found = configuration.tuned_models()
    except (HutchError, OSError):
        return  # which was told
    stale = [each for each in found if each.finding is None]
    for each in stale:
        step = f"hutch tune {each.model}" if each.model else "Remove the file, and run hutch tune."
        yield Check("tuning", "warn", f"{each.model} {each.problem}".strip(), step)
    if not stale:
        told = f"{len(found)} tuned for this machine" if found else "no model is tuned for this machine"
        yield Check("tuning", "ok", told, "" if found else "hutch tune")


def _server() -> Iterator[Check]:
    address = places.server_address()
    if not address.is_loopback and address.host in ("", "0.0.0.0", "::"):  # noqa: S104
        yield Check(
            "address",
            "warn",
            f"{address.url} is open to other machines",
            "Keep keys for its users, or set HUTCH_HOST=127.0.0.1.",
        )
    try:
        version = side.server_version()
    except Unreachable:
        yield Check("server", "ok", f"none runs at {address.url}", "'hutch run' or 'hutch serve' starts one.")
    except HutchError as error:
        yield Check(
            "server", "fail", error.message, error.hint or "Set HUTCH_API_KEY, or another HUTCH_HOST."
        )
    else:
        step = "" if version == hutch.__version__ else "Stop it and start it again with this version."
        yield Check("server", "warn" if step else "ok", f"version {version} at {address.url}", step)


def _models() -> Iterator[Check]:
    try:
        found = listing.read(places.models())
    except HutchError as error:
        yield Check("models", "fail", error.message, error.hint)
        return
    yield Check("models", "ok", f"{len(found.models)} in {places.models()}")
    for problem in found.broken:
        yield Check(
            "manifest", "fail", problem.message, problem.hint or "Remove the file, then pull the model."
        )
    yield from _missing()
    stale = _stale(layout.blobs_folder(places.models()))
    if stale:
        size = columns.human_size(sum(file.stat().st_size for file in stale))
        yield Check(
            "downloads", "warn", f"{len(stale)} left unfinished a day ago or longer, {size}", "hutch prune"
        )


def _missing() -> Iterator[Check]:
    """The models whose files are not all there, or are of another size."""
    root = places.models()
    blobs = Blobs(root)
    for name in manifests.names(root):
        try:
            manifest = manifests.read(root, name)
        except FormatError:
            continue  # which was told
        wrong = [
            each.digest
            for each in (manifest.config, *manifest.layers)
            if blobs.size_bytes(each.digest) != each.size_bytes
        ]
        if wrong:
            what = f"{name.short}: {wrong[0]} is missing or has another size"
            yield Check("files of a model", "fail", what, f"Fetch it again: hutch pull {name.short}")


def _stale(folder: Path) -> list[Path]:
    oldest_s = time.time() - sweep.PARTIAL_AGE_S
    files = folder.glob(f"*{layout.PARTIAL_SUFFIX}*") if folder.is_dir() else ()
    return [file for file in files if file.stat().st_mtime < oldest_s]


def _processor() -> Iterator[Check]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        yield Check("processor", "ok", platform.machine())
        return
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    if platform.machine() in ("x86_64", "AMD64") and "avx2" not in flags:
        yield Check(
            "processor", "warn", "it has no AVX2: models will be slow", "Use smaller models, or a GPU."
        )
    elif "avx512f" in flags:
        told = "it has AVX-512, which the engine that comes with Hutch does not use"
        yield Check("processor", "ok", told, "One built for this machine is faster: hutch engine build.")
    else:
        yield Check("processor", "ok", f"{platform.machine()}{', AVX2' if 'avx2' in flags else ''}")


def _memory() -> Iterator[Check]:
    free_bytes, total_bytes = machine.memory_bytes()
    step = "" if free_bytes > _LITTLE_MEMORY_BYTES else "Close other programs, or use a smaller model."
    size = f"{columns.human_size(free_bytes)} free of {columns.human_size(total_bytes)}"
    yield Check("memory", "warn" if step else "ok", size, step)


_LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _versions,
    _folders,
    _settings,
    _engine,
    _server,
    _models,
    _kept,
    _tuned,
    _processor,
    _memory,
)
