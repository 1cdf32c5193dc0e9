"""How long short commands take: `python -m bench.cli_speed`.

Runs `hutch list`, `hutch ps` and `hutch --help` against a server of its own, in turn with `python -c ''`, which is the
least that any Python command can take.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from bench.serve import clean_environment, serving

PYTHON = (sys.executable, "-c", "")
HUTCH = str(Path(sys.executable).with_name("hutch"))


def wall_s(command: tuple[str, ...], environment: Mapping[str, str]) -> float:
    """Run a command and return its wall time; one that fails raises."""
    started_s = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = threading.Timer(60, process.kill)  # subprocess's own timeout polls, up to 50 ms late
    deadline.start()
    status = process.wait()
    took_s = time.perf_counter() - started_s
    deadline.cancel()
    if status:
        raise subprocess.CalledProcessError(status, command)
    return took_s


def main() -> int:
    """Measure the commands in turn and print medians and their ratio to Python's."""
    parser = argparse.ArgumentParser(prog="python -m bench.cli_speed", description=__doc__)
    parser.add_argument("--models", type=Path, help="the models folder (an empty one)")
    parser.add_argument("--runs", type=int, choices=range(3, 201), default=20, metavar="3-200")
    arguments = parser.parse_args()
    commands: tuple[tuple[str, ...], ...] = (PYTHON, (HUTCH, "--help"), (HUTCH, "list"), (HUTCH, "ps"))
    took_s: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    with tempfile.TemporaryDirectory(prefix="hutch-bench-") as folder:
        models = arguments.models.resolve() if arguments.models else Path(folder, "models")
        home = Path(folder, "home")
        with serving(home, models) as running:
            environment = clean_environment() | {
                "HUTCH_HOME": str(home),
                "HUTCH_MODELS": str(models),
                "HUTCH_HOST": f"127.0.0.1:{running.port}",
            }
            for number in range(arguments.runs + 1):
                for command in commands:
                    seconds = wall_s(command, environment)
                    if number:  # the first run fills the disk's cache
                        took_s[command].append(seconds)
    least_s = statistics.median(took_s[PYTHON])
    for command, times in took_s.items():
        name = "python -c ''" if command == PYTHON else f"hutch {command[1]}"
        median_s = statistics.median(times)
        spread = f"{min(times) * 1000:.0f}–{max(times) * 1000:.0f}"
        print(f"{name:14} {median_s * 1000:6.1f} ms ({spread})  {median_s / least_s:5.2f} × python")
    return 0


if __name__ == "__main__":
    sys.exit(main())
