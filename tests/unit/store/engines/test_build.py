"""A build from a made-up source package, with compilers that are scripts; and, marked slow, a real one."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hutch.cli.main import main
from hutch.core.errors import Conflict, EngineFailed, NoRoom, NotFound, SourceFailed
from hutch.store import installed
from hutch.store.engines import build as building
from hutch.store.engines import source
from hutch.store.lock import Lock
from tests.conftest import clean_environment
from tests.unit.store.things import digest_of, pip_alone

CMAKE = """#!/bin/sh
if [ "$1" = -S ]; then echo "configured with $*"; mkdir -p "$4/bin"; exit 0; fi
echo "[1/2] Building one"
grep -q BROKEN "$2/../source/CMakeLists.txt" && echo "x.cpp:1: error: no such thing" && echo "ninja: stopped" && exit 1
for program in llama-server llama-quantize; do printf '#!/bin/sh\\necho version 1\\n' > "$2/bin/$program"; chmod +x "$2/bin/$program"; done
echo "[2/2] Linking all"
"""
INSIDE = "llama_cpp_python-0.3.36"


def archive(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as package:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            package.addfile(info)
    return data.getvalue()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where engines go; there is a package to build them from, and a PATH of scripts alone."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("cmake", CMAKE), ("ninja", "#!/bin/sh\n"), ("g++", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("mkdir", "chmod", "grep", "sh", "sleep"):
        (programs / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    pip_alone(monkeypatch)(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "packages"))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # for pip itself
    publish(tmp_path, monkeypatch, archive({f"{INSIDE}/vendor/llama.cpp/CMakeLists.txt": b"project(x)"}))
    return tmp_path / "home" / "engines"


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    (folder / "packages").mkdir(exist_ok=True)
    (folder / "packages" / f"{INSIDE}.tar.gz").write_bytes(data)
    monkeypatch.setattr(source, "PACKAGE", replace(source.PACKAGE, wheel_digest=digest_of(data)))


def build(root: Path, name: str = "mine", kind: str = "cpu") -> list[str]:
    return [report.status for report in building.build(root, name, kind, 2)]


def left(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.name not in (".locks", "blobs")}


def test_a_build_is_fetched_compiled_tried_and_installed(root: Path) -> None:
    steps = build(root)
    assert steps[-5:] == ["configuring", "compiling", "compiling", "trying it", "success"]
    assert sorted(path.name for path in (root / "mine").iterdir()) == [
        *("build.log", "engine.json", "llama-quantize", "llama-server"),
    ]
    log = (root / "mine" / "build.log").read_text()
    assert "-DGGML_NATIVE=ON" in log
    assert "-DGGML_CUDA=OFF" in log
    assert "version 1" in log
    assert left(root) == {"mine"}
    assert not list((root / "blobs").iterdir())


def test_the_command_builds_and_then_uses_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "build", "mine", "--kind", "cpu", "--jobs", "2", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["engines"][1] == {
        "name": "mine",
        "kind": "cpu",
        "path": str(root / "mine" / "llama-server"),
        "in_use": True,
    }
    assert "compiling 2 of 2" in told.err
    assert main(["engine", "remove", "mine"]) == 5
    assert main(["engine", "use", "default"]) == 0
    assert main(["engine", "remove", "mine"]) == 0
    assert main(["engine", "use", "mine"]) == 4
    assert main(["engine", "use"]) == 2
    assert main(["engine", "build", "--jobs", "0"]) == 2
    capsys.readouterr()
    assert main(["engine", "list"]) == 0
    assert capsys.readouterr().out.split() == ["NAME", "KIND", "IN", "USE", "PATH", "default", "wheel", "yes"]


def test_where_the_settings_name_a_binary_a_choice_says_that_it_waits(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build(root)
    monkeypatch.setenv("HUTCH_LLAMA_SERVER", "/opt/llama-server")
    assert main(["engine", "use", "mine"]) == 0
    assert "note: not yet: the settings name /opt/llama-server" in capsys.readouterr().err


def test_a_compiler_error_is_told_and_nothing_looks_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, monkeypatch, archive({f"{INSIDE}/vendor/llama.cpp/CMakeLists.txt": b"BROKEN"}))
    with pytest.raises(EngineFailed, match=r"cmake failed: x\.cpp:1: error: no such thing") as caught:
        build(root)
    assert str(root / "mine" / "build.log") in caught.value.hint
    assert left(root) == {"mine"}
    assert [engine.name for engine in installed.engines(root, None)] == ["default"]


def test_a_build_that_is_killed_leaves_nothing_that_looks_whole_and_the_next_one_cleans_up(
    root: Path,
) -> None:
    steps = building.build(root, "mine", "cpu", 2)
    for report in steps:
        if report.status == "compiling":
            break
    [work] = root.glob(".building-*")
    shutil.copytree(work, root / ".building-killed")  # as a kill would leave it
    steps.close()
    assert [engine.name for engine in installed.engines(root, None)] == ["default"]
    build(root)
    assert left(root) == {"mine"}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], ""),
        (["-- a", "", "-- b", ""], "-- b"),
        (["a", "x.cpp:1: error: no", "y.cpp:1: error: no"], "x.cpp:1: error: no"),
        (["CMake Error in CMakeLists.txt:", "", "no GPU", "more"], "CMake Error in CMakeLists.txt: no GPU"),
    ],
)
def test_the_first_error_is_told(lines: list[str], told: str) -> None:
    assert building._told(lines) == told


def test_a_gpu_is_built_for_only_where_it_is_and_its_compiler_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for programs, kind in ((("nvcc",), "cpu"), (("nvidia-smi",), "cpu"), (("nvcc", "nvidia-smi"), "cuda")):
        monkeypatch.setattr(shutil, "which", lambda name, there=programs: name if name in there else None)
        monkeypatch.setattr(Path, "exists", lambda _: False)
        assert building.likely_kind() == kind


def test_a_second_build_at_the_same_time_is_refused(root: Path) -> None:
    with Lock(root, "build") as lock:
        assert lock.try_acquire()
        with pytest.raises(Conflict, match="another process is building"):
            build(root)


@pytest.mark.parametrize(
    ("missing", "kind", "step"),
    [
        ("g++", "cpu", "apt-get install g++"),
        ("nvcc", "cuda", "--kind cpu"),
        ("ninja", "cpu", "apt-get install cmake ninja-build"),
    ],
)
def test_what_is_missing_is_named_with_how_to_get_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, missing: str, kind: str, step: str
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # it makes no environment for what is missing
    Path(os.environ["PATH"], missing).unlink(missing_ok=True)
    with pytest.raises((NotFound, EngineFailed)) as caught:
        build(root, kind=kind)
    assert step in caught.value.hint


def test_a_full_disk_is_told_before_anything_is_fetched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(NoRoom, match=r"needs 734.0 MB, and 1.0 MB are free"):
        build(root)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"no archive", "damaged"),
        (archive({f"{INSIDE}/vendor/llama.cpp/CMakeLists.txt": bytes(99)})[:80], "damaged"),
        (archive({f"{INSIDE}/README.md": b"x"}), "holds no vendor/llama.cpp"),
        (archive({f"{INSIDE}/vendor/llama.cpp/../../../../../../evil": b"x"}), "damaged"),
        (archive({}, {f"{INSIDE}/vendor/llama.cpp/x": "/etc/passwd"}), "damaged"),
    ],
    ids=["no archive", "broken off", "another package", "path outside", "link outside"],
)
def test_a_package_that_is_none_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, complaint: str
) -> None:
    publish(tmp_path, monkeypatch, data)
    with pytest.raises(SourceFailed, match=complaint):
        build(root)
    assert left(root) == {"mine"}


def test_a_package_of_another_digest_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "packages" / f"{INSIDE}.tar.gz").write_bytes(archive({}))
    with pytest.raises(SourceFailed, match="digest mismatch"):
        build(root)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_real_engine_is_built_and_runs(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "hutch", "engine", "build", "real", "--kind", "cpu", "--json")
    home = clean_environment(HUTCH_HOME=str(tmp_path), HUTCH_HOST="127.0.0.1:9")
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [engine] = (each for each in json.loads(done.stdout)["engines"] if each["in_use"])
    told = subprocess.run((engine["path"], "--version"), capture_output=True, text=True, check=True)
    assert "version" in told.stdout + told.stderr
    assert os.access(Path(engine["path"]).with_name("llama-quantize"), os.X_OK)
