"""An Olive configuration, run in an environment of its own that is made when it is first needed."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import venv
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from hutch import places
from hutch.core.errors import BadInput, EngineFailed
from hutch.core.models import Progress
from hutch.optimize import libraries, process
from hutch.optimize.making import Workshop
from hutch.optimize.source import Source
from hutch.optimize.variant import TOKENIZER_FILES, Variant
from hutch.store import onnx_folder

PREFIX = "olive:"
# Olive 0.13 calls the model builder as it was up to 0.14 (0.15 and 0.18 fail), and forgets to ask for requests.
_REQUIREMENTS = ("olive-ai==0.13.0", "onnxruntime-genai==0.14.1", "requests")
_OF_ITS_OWN = ("-I", "-m")  # PYTHONPATH and the user's packages are of other versions
_SUFFIXES = (".json", ".yaml", ".yml")
_GENAI = "genai_config.json"


def run_recipe(root: Path, source: Source, config: Path) -> Generator[Progress, None, Variant]:
    """Run `config` on the source's weights, and return the ONNX folder that it made. Raises what hindered it.

    Olive is told the model and the output folder by Hutch; what the configuration says of both is replaced.
    `alone` has to be held.
    """
    if not config.is_file() or config.suffix not in _SUFFIXES:
        raise BadInput(
            f"{config} is no Olive configuration", hint=f"Name a file that ends in {', '.join(_SUFFIXES)}."
        )
    libraries.check()  # for the source in the form that Olive reads
    log = root / "olive.log"
    python = yield from _environment(root / "olive", log)
    shop = Workshop(root / "work" / source.digest[:16], source, root / "job.log")
    folder = yield from shop.forms.folder()
    target = root / "work" / source.digest[:16] / "olive"
    shutil.rmtree(target, ignore_errors=True)
    command = (
        *(str(python), *_OF_ITS_OWN, "olive", "run", "--config", str(config.absolute())),
        *("-m", str(folder), "-o", str(target)),
    )
    yield Progress(f"running Olive on {source.label}")
    yield from _run(command, log, process.environment())
    return _made(target, folder, log)


def _environment(folder: Path, log: Path) -> Generator[Progress, None, Path]:
    """The Python of the environment, which is whole once it has its name."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted, whole = (*_REQUIREMENTS, _same_torch()), folder / "whole"
    if python.is_file() and whole.is_file() and whole.read_text(encoding="utf-8").split() == [*wanted]:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    yield Progress("making an environment for Olive")
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    yield Progress("installing Olive, which takes some minutes")
    pip = (str(python), *_OF_ITS_OWN, "pip", "install", "--disable-pip-version-check", "-q", *wanted)
    yield from _run(pip, log, {**process.environment(), **places.pip_environment()})
    whole.write_text("\n".join(wanted), encoding="utf-8")
    return python


def _same_torch() -> str:
    """The PyTorch that is installed here: others of its builds are several times as large."""
    return f"torch=={libraries.versions(('torch',))['torch'].partition('+')[0]}"


def _run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[Progress]:
    with log.open("wb") as words, tempfile.TemporaryDirectory() as elsewhere:
        running = subprocess.Popen(
            command,
            cwd=elsewhere,  # Olive writes a cache where it is started
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )
        try:
            status = running.wait()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    if status:
        raise EngineFailed(
            f"{Path(command[0]).name} {' '.join(command[3:5])} ended with status {status}: {process.last_words(log)}",
            hint=f"All that it said is in {log}.",
        )
    yield Progress("done")


def _made(target: Path, source: Path, log: Path) -> Variant:
    found = sorted(target.rglob(_GENAI))
    if not found:
        raise EngineFailed(
            f"the recipe made no model with a {_GENAI}",
            hint=f"End it with the pass ModelBuilder. All that Olive said is in {log}.",
        )
    for (
        name
    ) in TOKENIZER_FILES:  # as in hutch.optimize.graphs: what the builder writes splits texts otherwise
        if (source / name).is_file():
            shutil.copyfile(source / name, found[0].parent / name)
    return Variant("onnx", onnx_folder.files_in(found[0].parent))
