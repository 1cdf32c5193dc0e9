"""The files of an ONNX model laid out again as the folder that they were, for a worker to open.

Links and no copies: hard ones, which also outlast a removal of the model; where the file system has none, symbolic ones,
which ONNX Runtime follows as long as all of them lead into one folder, as blobs do.
"""

import contextlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from hutch.core.errors import EngineFailed
from hutch.core.models import ModelFile
from hutch.files import is_running
from hutch.formats import folder_names

_ATTEMPTS = 3
_FOLDER = ".loaded"  # in the model folder, since a hard link cannot leave its file system


def lay_out(files: Sequence[ModelFile]) -> Path:
    """A fresh folder, open to this user alone, with these files. Raises EngineFailed. `remove` it."""
    folder_names.check_all(file.name for file in files)
    root = files[0].path.parent.parent
    problems: list[str] = []
    for parent in (root / _FOLDER, Path(tempfile.gettempdir())):
        try:
            folder = _fresh(parent)
        except OSError as problem:
            problems.append(f"{parent}: {problem.strerror}")
            continue
        try:
            for file in files:
                _link(file, folder)
        except OSError as problem:
            remove(folder)
            problems.append(f"{parent}: {problem.strerror}")
            continue
        return folder
    raise EngineFailed(
        f"the model's files could not be laid out ({'; '.join(problems)})",
        hint="Let Hutch write in the model folder, or in the temporary folder.",
    )


def remove(folder: Path) -> None:
    """Take a folder away again, and the one that it stood in where nothing is left there."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.name == _FOLDER:
        with contextlib.suppress(OSError):  # another one is in it
            folder.parent.rmdir()


def _fresh(parent: Path, attempts: int = _ATTEMPTS) -> Path:
    try:
        with contextlib.suppress(FileExistsError):
            parent.mkdir(mode=0o700)
        _sweep(parent)
        return Path(tempfile.mkdtemp(prefix=f"hutch-{_host()}-{os.getpid()}-", dir=parent))
    except FileNotFoundError:  # whoever left it empty has taken the parent away meanwhile
        if attempts == 1:
            raise
        return _fresh(parent, attempts - 1)


def _link(file: ModelFile, folder: Path) -> None:
    place = folder / file.name
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.link(file.path, place)
    except OSError:  # another file system, another owner's file, or a file system without hard links
        place.symlink_to(file.path)


def _sweep(parent: Path) -> None:
    """Remove the folders of servers on this machine that were killed."""
    for folder in _ours(parent):
        owner = folder.name.removeprefix(f"hutch-{_host()}-").partition("-")[0]
        if owner.isdigit() and not is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _ours(parent: Path) -> Iterable[Path]:
    for folder in parent.glob(f"hutch-{_host()}-*"):
        with contextlib.suppress(FileNotFoundError):  # another server sweeps too, or ends
            info = folder.lstat()
            if stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid():
                yield folder


def _host() -> str:
    return "".join(each for each in socket.gethostname() if each.isalnum())[:32] or "host"
