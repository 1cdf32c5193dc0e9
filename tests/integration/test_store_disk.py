"""A disk that is full, or closed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import hutch
from tests.unit.store.things import model_bytes

SCRIPT = """
import os, sys
from pathlib import Path
from hutch.core.errors import NoRoom
from hutch.core.names import ModelName
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog

root, given = Path(sys.argv[1]), Path(sys.argv[2])
if sys.argv[3] == "limit":
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
store = ModelStore(root / "models", lambda: Catalog({}))
small, large = given / "small.gguf", given / "large.gguf"
list(store.pull(ModelName.parse("small"), str(small)))

def refused(work):
    try:
        work()
    except NoRoom as problem:
        assert "needs" in problem.message or "no room left" in problem.message, problem.message
        assert "hutch prune" in problem.hint
        print(problem.message)
    else:
        raise AssertionError("there was room")

refused(lambda: list(store.pull(ModelName.parse("large"), str(large))))
refused(lambda: store.import_blob(iter(lambda: bytes(1 << 16), b""), "sha256:" + "0" * 64))
names = [model.name.short for model in store.list()]
assert names == ["small:latest"], names
assert not [path for path in root.glob("models/blobs/*") if "partial" in path.name]
if sys.argv[3] == "tmpfs":
    filler = root / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 12)):
                pass
        except OSError:
            pass
    refused(lambda: list(store.create(ModelName.parse("made"), Recipe(ModelName.parse("small"), system="x" * 9999))))
    filler.unlink()
    assert [model.name.short for model in store.list()] == ["small:latest"]
list(store.create(ModelName.parse("made"), Recipe(ModelName.parse("small"), system="x")))
assert store.open(ModelName.parse("made")).system == "x"
store.prune(store.prune_plan())
print("done")
"""
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
SOURCE = str(Path(hutch.__file__).parents[1])


def _run(command: list[str], folder: Path) -> str:
    given = folder / "given"
    given.mkdir(exist_ok=True)
    (given / "small.gguf").write_bytes(model_bytes(1))
    (given / "large.gguf").write_bytes(model_bytes(2, more_bytes=5 << 20))
    environment = _environment() | {"HUTCH_HOME": str(folder / "home")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"}


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, env=_environment(), check=False).returncode == 0
    except FileNotFoundError:
        return False


def _try_to_fill(folder: Path, as_user: list[str]) -> str:
    """On a tmpfs of 2 MB where user namespaces are allowed, else under a limit of 1 MB a file."""
    root = folder / "disk"
    root.mkdir()
    root.chmod(0o777)
    arguments = ["-c", SCRIPT, str(root), str(folder / "given")]
    python = _python_for([*as_user, "unshare", "-rm"])
    if python is None:
        return _run([*as_user, _python_for(as_user) or sys.executable, *arguments, "limit"], folder)
    mount = f'mount -t tmpfs -o size=2m tmpfs "{root}" && exec "$@"'
    told = _run([*as_user, "unshare", "-rm", "sh", "-c", mount, "sh", python, *arguments, "tmpfs"], folder)
    assert "needs 5.2 MB more" in told
    return told


def _python_for(as_user: list[str]) -> str | None:
    """A Python that this user may run with our code: this one, or the system's."""
    candidates = (sys.executable, "/usr/bin/python3")
    probe = ["-c", "import hutch.store.store, sys; assert sys.version_info >= (3, 11)"]
    return next((each for each in candidates if _succeeds([*as_user, each, *probe])), None)


def test_a_full_disk_is_told_and_spoils_nothing(tmp_path: Path) -> None:
    assert _try_to_fill(tmp_path, []).endswith("done\n")


def test_a_full_disk_is_told_to_an_ordinary_user_too() -> None:
    if _python_for(AS_NOBODY) is None:
        pytest.skip("only root can become nobody, who must be able to read our code")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        assert _try_to_fill(Path(folder), AS_NOBODY).endswith("done\n")


def test_a_limit_on_the_size_of_files_is_told_and_spoils_nothing(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    told = _run([sys.executable, "-c", SCRIPT, str(root), str(tmp_path / "given"), "limit"], tmp_path)
    assert "no room left" in told
    assert told.endswith("done\n")


def test_a_folder_that_is_closed_to_us_is_told() -> None:
    script = """
from pathlib import Path
import sys
from hutch.core.errors import Forbidden
from hutch.core.names import ModelName
from hutch.store.store import ModelStore
store = ModelStore(Path(sys.argv[1]) / "models", dict)
assert store.list() == []
for work in (lambda: store.import_blob([b"x"], "sha256:" + "0" * 64), lambda: store.prune(())):
    try:
        work()
    except Forbidden as problem:
        assert "HUTCH_MODELS" in problem.hint
    else:
        raise AssertionError("nobody may write there")
"""
    python = _python_for(AS_NOBODY)
    if python is None:
        pytest.skip("only root can become nobody, who must be able to read our code")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        _run([*AS_NOBODY, python, "-c", script, folder], Path(folder))
