"""Hutch beside Foundry Local, on the same folder of ONNX: `python -m bench.foundry FOLDER --foundry PYTHON`.

Foundry Local runs in an environment of its own (`python3 -m venv DIR && DIR/bin/pip install foundry-local-sdk==2.2.1`), and
PYTHON is the one in there. Both get the same files, with the same number of threads in genai_config.json. It serves one
request at a time, and keeps no prefix.
"""

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.compare import Plan, Report, compare, print_report
from bench.load import Server
from bench.serve import Serving, clean_environment, free_port, serving
from bench.workloads import WORKLOADS, Metric, Workload, at_once, first_token_ms

MODEL = "bench-generic-cpu:1"  # Foundry Local knows models by such names only
NUM_CTX = 4096
START_S = 120.0
LOADS = (
    *(load for load in WORKLOADS if load.name in ("one stream", "long prompt")),
    at_once(8, turns=1, num_words=170),
    Workload(
        "shared prefix", 8, 2, (Metric("first token", "ms", first_token_ms),), turns=2, shared_words=900
    ),
)
# Mission: how many times better than Foundry Local, at least and as an aim; for times, how many times sooner.
TARGETS = {
    ("one stream", "decode"): (1.0, 1.3),
    ("long prompt", "prefill"): (1.9, 3.0),
    ("8 at once", "total"): (1.6, 2.5),
    ("shared prefix", "first token"): (20.0, 40.0),
    ("8 at once", "slowest first token"): (1.6, 2.5),
}


def prepared(folder: Path, target: Path, num_threads: int) -> Path:
    """A copy of the folder whose configuration names the threads and one context for both."""
    shutil.copytree(folder, target)
    file = target / "genai_config.json"
    said = json.loads(file.read_text())
    said["model"]["decoder"]["session_options"]["intra_op_num_threads"] = num_threads
    said["model"]["context_length"] = said["search"]["max_length"] = NUM_CTX
    file.write_text(json.dumps(said, indent=1))
    return target


@contextmanager
def foundry(python: str, folder: Path, state: Path) -> Iterator[Server]:
    """Foundry Local's REST server, while it is needed."""
    port = free_port()
    with (state / "foundry.log").open("wb") as log:
        process = subprocess.Popen(
            [python, str(Path(__file__).with_name("foundry_server.py")), folder, str(port), state / "data"],
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin
    assert process.stdout
    try:
        while (line := process.stdout.readline()) != b"ready\n":
            if not line:
                raise RuntimeError((state / "foundry.log").read_text(errors="replace")[-2000:])
        yield Server("foundry local", "openai", f"http://127.0.0.1:{port}")
    finally:
        process.stdin.close()
        process.wait(START_S)


@contextmanager
def hutch(folder: Path, state: Path, num_threads: int) -> Iterator[Server]:
    """A Hutch of its own with the folder as a model, while it is needed."""
    (state / "Modelfile").write_text(f"FROM {folder}\nPARAMETER num_thread {num_threads}\n")
    (state / "models").mkdir()
    more = {"HUTCH_NUM_PARALLEL": "8", "HUTCH_CONTEXT_LENGTH": str(NUM_CTX)}
    with serving(state / "home", state / "models", more) as running:
        _create(running, state)
        line = running.load(MODEL)
        print(f"hutch: {line['engine']}, worker {line['pid']}", file=sys.stderr)
        yield Server("hutch", "openai", running.url)


def _create(running: Serving, state: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hutch", "create", MODEL, "-f", str(state / "Modelfile")],
        env=clean_environment()
        | {
            "HUTCH_HOME": str(state / "home"),
            "HUTCH_MODELS": str(state / "models"),
            "HUTCH_HOST": running.url.removeprefix("http://"),
        },
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def verdicts(report: Report) -> Iterator[str]:
    """Each target, and by how much it was reached: the median of the ratios of pairs of turns."""
    for line in report.lines:
        target = TARGETS.get((line.workload, line.metric))
        if target is None or line.ratio is None:
            continue
        ratio = 1 / line.ratio.median if line.unit == "ms" else line.ratio.median
        must, aim = target
        said = "below the target" if ratio < must else "reached" if ratio < aim else "aim reached"
        yield f"{line.workload}, {line.metric}: {ratio:.2f} times (must {must:g}, aim {aim:g}): {said}"


def main() -> int:
    """Measure, and say which targets are reached."""
    parser = argparse.ArgumentParser(prog="python -m bench.foundry", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--foundry", required=True, metavar="PYTHON", help="of the environment with its SDK")
    parser.add_argument("--rounds", type=int, choices=range(1, 101), default=5, metavar="1-100")
    parser.add_argument("--threads", type=int, default=2, help="of each engine (2)")
    parser.add_argument("--only", action="append", choices=[load.name for load in LOADS])
    parser.add_argument("--json", type=Path, default=Path("bench/results/foundry.json"), metavar="FILE")
    arguments = parser.parse_args()
    plan = Plan(
        MODEL,
        arguments.rounds,
        tuple(load for load in LOADS if not arguments.only or load.name in arguments.only),
        random.SystemRandom().getrandbits(32),
    )
    with tempfile.TemporaryDirectory(prefix="hutch-bench-") as temporary:
        state = Path(temporary)
        folder = prepared(arguments.folder, state / "folder", arguments.threads)
        with (
            hutch(folder, state, arguments.threads) as ours,
            foundry(arguments.foundry, folder, state) as theirs,
        ):
            report = asyncio.run(compare((ours, theirs), plan))
    print_report(report)
    found = list(verdicts(report))
    print("\n".join(found))
    report.write(arguments.json)
    return 1 if report.errors or any(each.endswith("below the target") for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
