"""Ten minutes of mixed load with crashes and disconnects: `pytest -m soak`.

`HUTCH_SOAK_SECONDS` shortens it, `HUTCH_SOAK_MODELS` names the models (with commas), `HUTCH_SOAK_REPORT` is a file
for the figures.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from bench.serve import Serving, serving
from tests.conftest import EVERY_ENGINE
from tests.soak.load import NUM_CLIENTS, Load, Seen
from tests.soak.watching import Level, Marks, children, entries, num_fds

DURATION_S = float(os.environ.get("HUTCH_SOAK_SECONDS", "600"))
MODELS = tuple(os.environ.get("HUTCH_SOAK_MODELS", "smollm2:135m").split(","))
REPORT = os.environ.get("HUTCH_SOAK_REPORT", "")
SETTLE_S = 30.0
MEMORY_PART = 0.05
# a crash may cost each client what it had in flight and one request more before the worker is replaced
FAILURES_A_KILL = 2 * NUM_CLIENTS


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, because sockets will lie in it."""
    with tempfile.TemporaryDirectory(prefix="soak-") as path:
        yield Path(path)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a server holds while nobody asks it anything."""

    fds: int
    files: list[str]
    unlisted_children: list[int]

    @classmethod
    def of(cls, running: Serving, folders: tuple[Path, ...]) -> "Holdings":
        """Look at the server from outside."""
        listed = {line["pid"] for line in running.call("/api/ps")["models"]}
        pid = running.process.pid
        return cls(num_fds(pid), entries(folders), [child for child in children(pid) if child not in listed])

    def leaks(self, baseline: "Holdings") -> list[str]:
        """What is held now that was not at first."""
        found = []
        if self.fds > baseline.fds:
            found.append(f"{self.fds} open files instead of {baseline.fds}")
        if len(self.files) > len(baseline.files):
            found.append(f"files: {self.files} instead of {baseline.files}")
        if self.unlisted_children:
            found.append(f"children that ps does not list: {self.unlisted_children}")
        return found


@EVERY_ENGINE
@pytest.mark.soak
@pytest.mark.timeout(DURATION_S + 600)
def test_soak(models_dir: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marks = Marks(DURATION_S)
    temporary = (folder / "run", folder / "tmp")
    for path in temporary:
        path.mkdir(mode=0o700)
    places = {"XDG_RUNTIME_DIR": str(temporary[0]), "TMPDIR": str(temporary[1])}
    with serving(folder / "home", models_dir, places) as running:
        load = Load(running, MODELS, marks)
        asyncio.run(load.ask_each_kind_once())
        baseline = _settled(running, temporary, None)
        seen = asyncio.run(load.run())
        end, stop_s, problems = _ended(running, temporary, baseline)
    problems += _left_behind(seen, temporary)
    problems += _problems(seen, marks)
    report = _report(seen, marks) | {
        "fds": {"baseline": baseline.fds, "end": end.fds if end else None},
        "files": {"baseline": len(baseline.files), "end": len(end.files) if end else None},
        "stop_s": stop_s,
        "problems": problems,
    }
    text = json.dumps(report, indent=1)
    (Path(REPORT) if REPORT else tmp_path / "soak.json").write_text(text + "\n")
    with capsys.disabled():
        print(f"\n{text}")
    assert not problems, "\n".join(problems)


def _ended(
    running: Serving, folders: tuple[Path, ...], baseline: Holdings
) -> tuple[Holdings | None, float | None, list[str]]:
    """What the server holds after the load, how long it takes to end, and what is wrong with either."""
    try:
        end = _settled(running, folders, baseline)
        stop_s = running.stop()
    except (OSError, HTTPException, RuntimeError, subprocess.TimeoutExpired) as error:
        log = running.log.read_text(errors="replace")[-2000:]
        return None, None, [f"the server did not survive the load or did not end: {error!r}: {log}"]
    return end, stop_s, end.leaks(baseline)


def _settled(running: Serving, folders: tuple[Path, ...], baseline: Holdings | None) -> Holdings:
    """Load each model again, as many as fit, and give connections and processes time to go."""
    for model in MODELS:
        running.load(model)
    stop_s = time.monotonic() + SETTLE_S
    if baseline is None:
        time.sleep(min(SETTLE_S, 5.0))
        return Holdings.of(running, folders)
    while True:
        now = Holdings.of(running, folders)
        if not now.leaks(baseline) or time.monotonic() > stop_s:
            return now
        time.sleep(1.0)


def _left_behind(seen: Seen, folders: tuple[Path, ...]) -> list[str]:
    """What is still there after the server has ended."""
    stop_s = time.monotonic() + 10
    while (alive := [known.pid for known in seen.memory if known.is_there]) and time.monotonic() < stop_s:
        time.sleep(0.2)
    found = [f"processes after the end: {alive}"] if alive else []
    if files := entries(folders):
        found.append(f"files after the end: {files}")
    return found


def _problems(seen: Seen, marks: Marks) -> list[str]:
    found = [f"broken: {detail}" for detail in seen.broken[:20]]
    totals = seen.totals
    if totals["failed"] > FAILURES_A_KILL * len(seen.kills):
        found.append(f"{totals['failed']} requests failed at {len(seen.kills)} kills")
    if not totals["answered"]:
        found.append("nothing was answered")
    for known, memory in seen.memory.items():
        level = marks.level(memory.samples)
        if level and abs(level.change) > MEMORY_PART:
            found.append(f"memory of {memory.role} ({known.pid}): {_mib(level)}, {level.change:+.1%}")
    if not any(memory.role == "server" and marks.level(memory.samples) for memory in seen.memory.values()):
        found.append("the server's memory was not measured")
    if marks.duration_s >= 60 and not seen.kills:
        found.append("no worker was killed")
    return found


def _report(seen: Seen, marks: Marks) -> dict[str, Any]:
    requests: dict[str, dict[str, int]] = defaultdict(dict)
    for (kind, outcome), count in sorted(seen.outcomes.items()):
        requests[kind][outcome] = count
    kills_s = [kill.at_s for kill in seen.kills]
    return {
        "duration_s": marks.duration_s,
        "models": MODELS,
        "outcomes": seen.totals,
        "requests": requests,
        "kills": [asdict(kill) for kill in seen.kills],
        "failures": dict(seen.failures.most_common(20)),
        # a failure with no crash just before it deserves a look, though it was a proper one
        "failed_without_kill": sum(
            not any(0 <= at_s - kill_s <= marks.steady_s for kill_s in kills_s) for at_s in seen.failed_at_s
        ),
        "memory_mib": [
            {
                "role": memory.role,
                "pid": known.pid,
                "lived_s": round(memory.samples[-1][0] - memory.samples[0][0]),
            }
            | (_mib(level) if (level := marks.level(memory.samples)) else {})
            for known, memory in seen.memory.items()
        ],
    }


def _mib(level: Level) -> dict[str, float]:
    sizes = {"start": level.start_bytes, "reference": level.reference_bytes, "end": level.end_bytes}
    return {name: round(size / 2**20, 1) for name, size in sizes.items()}
