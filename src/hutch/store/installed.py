"""The engines of this installation: the one that comes with Hutch, those that were built here, and which is in use.

engines/in-use             the name of the chosen one; without it, it is the one that comes with Hutch
engines/NAME/engine.json   written last: an engine without it is not whole
engines/NAME/llama-server, llama-quantize, build.log
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from hutch import files
from hutch.core.errors import BadInput, Conflict, EngineFailed, NotFound
from hutch.store import layout

DEFAULT = "default"  # the engine that comes with Hutch
CONFIGURED = "configured"  # a llama-server that HUTCH_LLAMA_SERVER or hutch.toml names
PROGRAMS = ("llama-server", "llama-quantize")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MAX_RECORD_BYTES = 64 << 10


class Engine(NamedTuple):
    """One line of a listing. `kind` is wheel, cpu, cuda, or path; `path` is the llama-server, empty for the wheel."""

    name: str
    kind: str
    path: str
    in_use: bool


def checked_name(name: str) -> str:
    """The name of an engine to build. Raises BadInput."""
    if not _NAME.fullmatch(name) or name in (DEFAULT, CONFIGURED, "in-use", "blobs"):
        raise BadInput(
            f"{name[:80]!r} cannot name an engine",
            hint="Use up to 64 of a-z, 0-9, dot, dash and underscore, and none of Hutch's own words.",
        )
    return name


def engines(root: Path, configured: Path | None) -> list[Engine]:
    """All that there are. `configured` is the binary that the settings name, which goes over what was chosen."""
    chosen = CONFIGURED if configured else _chosen(root)
    found = [Engine(DEFAULT, "wheel", "", chosen == DEFAULT)]
    for record in sorted(root.glob("*/engine.json")):
        name = record.parent.name
        found.append(Engine(name, _kind(record), str(program(root, name)), chosen == name))
    if configured:
        found.append(Engine(CONFIGURED, "path", str(configured), in_use=True))
    return found


def binary_in_use(root: Path, configured: Path | None) -> str:
    """The llama-server to start; empty for the engine that comes with Hutch. Raises EngineFailed where it is gone."""
    if configured:
        return str(configured)
    chosen = _chosen(root)
    if chosen == DEFAULT:
        return ""
    path = program(root, chosen)
    if not (root / chosen / "engine.json").is_file() or not os.access(path, os.X_OK):
        raise EngineFailed(
            f"the engine '{chosen}' is chosen, and {path} cannot be run",
            hint="Build it again with `hutch engine build`, or go back with `hutch engine use default`.",
        )
    return str(path)


def kind_in_use(root: Path, configured: Path | None) -> str:
    """What kind of engine that is. Raises EngineFailed where its record is damaged."""
    return next(each.kind for each in engines(root, configured) if each.in_use)


def use(root: Path, name: str) -> None:
    """Choose an engine for every load from now on. Raises NotFound."""
    if name == DEFAULT:
        (root / "in-use").unlink(missing_ok=True)
        return
    _known(root, name)
    _write(root / "in-use", f"{name}\n".encode())


def remove(root: Path, name: str) -> None:
    """Take a built engine away. Raises NotFound, or Conflict where it is the chosen one."""
    _known(root, name)
    if _chosen(root) == name:
        raise Conflict(f"the engine '{name}' is in use", hint="First: hutch engine use default")
    (root / name / "engine.json").unlink()  # first, so that what is left of a removal does not look whole
    shutil.rmtree(root / name)


def program(root: Path, name: str, which: str = "llama-server") -> Path:
    """Where a program of a built engine lies."""
    return root / name / (which + (".exe" if os.name == "nt" else ""))


def install(root: Path, name: str, kind: str, source: str, built: Path) -> None:
    """Put the programs that were built in their place, one rename each, and the record last."""
    for which in PROGRAMS:
        target = program(root, name, which)
        aside = target.with_name(f".{target.name}")
        shutil.copyfile(built / target.name, aside)
        aside.chmod(0o755)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    record = json.dumps({"kind": kind, "source": source}).encode()
    _write(root / name / "engine.json", record)


def _write(path: Path, data: bytes) -> None:
    files.write_whole(path, data, path.with_name(f".{path.name}.{os.getpid()}"), 0o644)


def _known(root: Path, name: str) -> None:
    names = [engine.name for engine in engines(root, None)]
    if name not in names or name == DEFAULT:
        raise NotFound(f"engine '{name[:80]}' not found", hint=f"There are: {', '.join(names)}.")


def _chosen(root: Path) -> str:
    try:
        text = layout.read_bounded(root / "in-use", _MAX_RECORD_BYTES).decode(errors="replace").strip()
    except FileNotFoundError:
        return DEFAULT
    if not _NAME.fullmatch(text):
        raise EngineFailed(f"{root / 'in-use'} names no engine", hint="Mend it with `hutch engine use NAME`.")
    return text


def _kind(record: Path) -> str:
    try:
        kind = json.loads(layout.read_bounded(record, _MAX_RECORD_BYTES))["kind"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EngineFailed(f"{record} is damaged", hint="Build the engine again.") from error
    return str(kind)
