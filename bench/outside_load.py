"""What other programs take from a model: `python -m bench.outside_load --models FOLDER --model smollm2:135m`.

One server, loaded once. Each round times an answer on the quiet machine and one beside busy processes, which do nothing but take their
share of the cores; with `--against` two servers take turns, and the quiet rates of both tell what a setting costs. Exit status 1 where
decode beside the load falls below the target.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.prompts import WORDS
from bench.serve import Serving, serving

TARGET = 0.4
_NUM_WORDS, _NUM_TOKENS = 200, 96


class Rates(NamedTuple):
    """Tokens a second: of the prompt, and of the answer."""

    prefill: float
    decode: float


class Pair(NamedTuple):
    """One round of one server."""

    quiet: Rates
    beside: Rates


def main() -> int:
    """Measure, print a line for each round and the medians, and judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.outside_load", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="the model folder")
    parser.add_argument("--model", default="smollm2:135m")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of the server"
    )
    parser.add_argument(
        "--against", action="append", metavar="NAME=VALUE", help="a variable of a second server"
    )
    parser.add_argument("--busy", type=int, default=2, help="how many busy processes")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    said_of = [args.set] if args.against is None else [args.set, args.against]
    settings = [dict(each.split("=", 1) for each in said) for said in said_of]
    found = measured(args.models, args.model, settings, num_busy=args.busy, num_rounds=args.rounds)
    for said, pairs in zip(said_of, found, strict=True):
        print(f"{' '.join(said) or 'as it comes'}: {_told(pairs)}")
    if len(found) == 2:
        costs = [
            median(one.quiet[each] / other.quiet[each] for one, other in zip(*found, strict=True))
            for each in (0, 1)
        ]
        print(f"the first on a quiet machine: prefill {costs[0]:.3f}, decode {costs[1]:.3f} of the second")
    return 0 if kept(found[0]) >= TARGET else 1


def measured(
    models: Path, model: str, settings: Sequence[Mapping[str, str]], *, num_busy: int, num_rounds: int
) -> list[tuple[Pair, ...]]:
    """The rounds of each server, which are asked in turns."""
    with contextlib.ExitStack() as until:
        servers = [until.enter_context(_serving(models, each)) for each in settings]
        for server in servers:
            server.load(model)
            _asked(server, model)  # warm
        rounds = [[_round(server, model, num_busy) for server in servers] for _ in range(num_rounds)]
    return list(zip(*rounds, strict=True))


def kept(pairs: Sequence[Pair]) -> float:
    """The share of its quiet rate that decode keeps: the median of the rounds' own ratios."""
    return median(pair.beside.decode / pair.quiet.decode for pair in pairs)


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that compute without end."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _serving(models: Path, more: Mapping[str, str]) -> Iterator[Serving]:
    with (
        tempfile.TemporaryDirectory(prefix="hutch-bench-") as home,
        serving(Path(home), models, more) as server,
    ):
        yield server


def _round(server: Serving, model: str, number: int) -> Pair:
    quiet = _asked(server, model)
    with busy(number):
        beside = _asked(server, model)
    pair = Pair(quiet, beside)
    print(_told([pair]), file=sys.stderr, flush=True)
    return pair


def _asked(server: Serving, model: str) -> Rates:
    prompt = " ".join(random.choices(WORDS, k=_NUM_WORDS))
    options = {"temperature": 0, "num_predict": _NUM_TOKENS}
    body = {"model": model, "prompt": prompt, "raw": True, "stream": False, "options": options}
    told = server.call("/api/generate", body)
    prefill, decode = (
        told[f"{each}_count"] / told[f"{each}_duration"] * 1e9 for each in ("prompt_eval", "eval")
    )
    return Rates(prefill, decode)


def _told(pairs: Sequence[Pair]) -> str:
    rates = [median(pair[at][each] for pair in pairs) for at in (0, 1) for each in (0, 1)]
    prefill = median(pair.beside.prefill / pair.quiet.prefill for pair in pairs)
    return (
        f"quiet {rates[0]:.0f} prefill, {rates[1]:.1f} decode; beside {rates[2]:.0f}, {rates[3]:.1f}; "
        f"keeps {prefill:.2f} of prefill, {kept(pairs):.2f} of decode"
    )


if __name__ == "__main__":
    sys.exit(main())
