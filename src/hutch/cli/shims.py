"""`hutch shims`: `ollama` and `foundry-local` as names of this program. Never touches a file of somebody else's."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from hutch import places
from hutch.cli import plain
from hutch.core.errors import Conflict, Forbidden

_MARK = "Made by hutch shims"
_PROGRAM = "import sys; sys.argv[0] = {name!r}; from hutch.cli.main import main; raise SystemExit(main())"
_SUFFIX = ".cmd" if sys.platform == "win32" else ""


def shims(args: argparse.Namespace) -> None:
    """`hutch shims install` and `hutch shims remove`."""
    folder = Path(args.dir).expanduser().absolute() if args.dir else _beside_hutch()
    files = [folder / f"{name}{_SUFFIX}" for name in places.SHIMS]
    {"install": _install, "remove": _remove}[args.action](files)


def _install(files: list[Path]) -> None:
    for file in files:  # before anything is written
        if _is_foreign(file):
            raise Conflict(
                f"{file} is there, and not Hutch's", hint="Choose another folder with --dir, or move it away."
            )
    folder = files[0].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            file.write_text(_script(file.stem), encoding="utf-8")
            file.chmod(0o755)
            plain.out(f"{file}")
    except OSError as error:
        raise Forbidden(
            f"cannot write to {folder}: {error.strerror}", hint="Choose another folder with --dir."
        ) from error
    _tell_path(files)


def _remove(files: list[Path]) -> None:
    for file in files:
        if _is_foreign(file):
            plain.err(f"{file} is not Hutch's: left alone")
        elif file.is_file():
            file.unlink()
            plain.out(f"removed {file}")


def _tell_path(files: list[Path]) -> None:
    """Say what a shell will find under these names."""
    for file in files:
        found = shutil.which(file.stem)
        if found is None:
            plain.err(f"note: {file.parent} is not on PATH: a shell does not find {file.stem} yet")
        elif not Path(found).samefile(file):
            plain.err(f"note: {found} comes first on PATH: that is what '{file.stem}' runs")


def _is_foreign(file: Path) -> bool:
    if not file.is_file():
        return file.exists() or file.is_symlink()
    with file.open("rb") as stream:
        return _MARK.encode() not in stream.read(200)


def _beside_hutch() -> Path:
    """The folder of the program `hutch`, which is likely to be on PATH."""
    return Path(shutil.which("hutch") or sys.executable).parent


def _script(name: str) -> str:
    program = _PROGRAM.format(name=name)
    if sys.platform == "win32":
        return f'@rem {_MARK}\n@"{sys.executable}" -P -c "{program}" %*\n'
    return f'#!/bin/sh\n# {_MARK}\nexec {shlex.quote(sys.executable)} -P -c {shlex.quote(program)} "$@"\n'
