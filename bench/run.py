"""Compare servers on this machine by named workloads: `python -m bench.run --models FOLDER --home HOME`.

Servers are started here, asked in turn, and ended; one that fails is reported and the others go on. Without --server these take part:
Hutch as its wheel comes; with --home Hutch with its built engine and llama-server itself; Ollama, or where there is none llama-server
with its settings; with --foundry and --onnx-model Foundry Local and Hutch with that model.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine, page, picture, starts
from bench.compare import Plan, Report, compare
from bench.figures import as_json, table
from bench.fleet import Fleet
from bench.servers import LABELS, OF_HUTCH, Peer, Setup
from bench.targets import told, verdicts
from hutch.core.errors import HutchError
from hutch.optimize.picture import document
from hutch.optimize.picture_png import png

NUM_IDLE = 2000
_EIGHT_ONNX = "Hutch (ONNX; 8 slots)=hutch-onnx,HUTCH_NUM_PARALLEL=8"
_BASES = ("ollama", "yardstick", "llama-server", "foundry")


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    found.add_argument("--models", type=_path, help="the model folder of the servers that are started here")
    found.add_argument("--model", default="smollm2:135m", help="the model, as every server knows it")
    found.add_argument("--embedding-model", default="all-minilm", metavar="MODEL")
    found.add_argument("--onnx-model", default="", metavar="MODEL", help="for Hutch and Foundry Local")
    found.add_argument(
        "--optimized", metavar="MODEL", help="what `hutch optimize` made of the model, as a row"
    )
    found.add_argument(
        "--home", type=_path, help="a HUTCH_HOME with a built engine; it is copied, but for its secrets"
    )
    found.add_argument(
        "--llama-server", type=_path, help="a binary in place of the one that the home has in use"
    )
    found.add_argument("--ollama", type=_path, help="a binary; else the one on the PATH, if there is one")
    found.add_argument(
        "--foundry", type=_path, metavar="PYTHON", help="of an environment with foundry-local-sdk"
    )
    found.add_argument(
        "--server",
        action="append",
        type=_peer,
        metavar="SERVER",
        help=f"[NAME=]KIND[,openai|ollama][,model=MODEL][,VARIABLE=VALUE]…, KIND being one of {', '.join(LABELS)}; "
        "NAME=worker:OTHER; NAME=http://127.0.0.1:PORT,DIALECT or NAME=unix:/PATH,DIALECT; repeat it",
    )
    found.add_argument("--base", help="the server that the others are compared with")
    names = [workload.name for workload in starts.ALL]
    found.add_argument(
        "--only", action="append", choices=names, metavar="WORKLOAD", help=f"of {', '.join(names)}"
    )
    found.add_argument("--rounds", type=int, choices=range(1, 101), default=5, metavar="1-100")
    found.add_argument("--limit-s", type=float, default=5400, help="stop after this time (5400)")
    found.add_argument("--timeout-s", type=float, default=120, help="give a request up after this time (120)")
    found.add_argument("--idle", type=int, default=NUM_IDLE, help=f"idle streams ({NUM_IDLE})")
    found.add_argument(
        "--seed", type=int, help="of the prompts; a repeated one may meet its own cached prompts"
    )
    found.add_argument("--out", type=_path, default=Path("bench/results"), help="for run.json and pictures")
    found.add_argument(
        "--docs", type=_path, help="a page to write the results into, between its marker lines"
    )
    return found


def usual_peers(setup: Setup, optimized: str | None) -> list[Peer]:
    """Who takes part where no server was named."""
    has_engine = setup.home or setup.llama_server
    kinds = ["hutch-built", "hutch"] if has_engine else ["hutch"]
    if setup.ollama or has_engine:
        kinds.append("ollama" if setup.ollama else "yardstick")
    kinds += ["llama-server"] if has_engine else []
    kinds += [_EIGHT_ONNX] if setup.onnx_model else []
    kinds += ["foundry"] if setup.foundry and setup.onnx_model else []
    peers = [Peer.parse(kind) for kind in kinds]
    if optimized:
        peers.insert(1, Peer.parse(f"hutch-optimized,model={optimized}"))
    return peers


def base_of(peers: Sequence[Peer], named: str | None) -> str:
    """The server that others are compared with: the named one, else a peer of Hutch's, else the last. Raises ValueError."""
    names = [peer.name for peer in peers]
    if len(set(names)) < len(names):
        raise ValueError("two servers have the same name")
    if named and named not in names:
        raise ValueError(f"--base {named!r} is none of {', '.join(names)}")
    if strange := [peer.of for peer in peers if peer.of and peer.of not in names]:
        raise ValueError(f"the worker of {strange[0]!r} cannot be asked: no server has that name")
    known = (peer.name for kind in _BASES for peer in peers if peer.kind == kind)
    return named or next(known, names[-1])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write. The status is 1 where a Hutch did not answer or a target is missed, but not by the wheel alone."""
    options = parser()
    arguments = options.parse_args(argv)
    ollama = arguments.ollama or (Path(found) if (found := shutil.which("ollama")) else None)
    setup = Setup(
        arguments.models or Path("models"),
        arguments.model,
        arguments.embedding_model,
        arguments.onnx_model,
        arguments.home,
        arguments.llama_server,
        ollama,
        arguments.foundry,
    )
    peers = arguments.server or usual_peers(setup, arguments.optimized)
    try:
        base = base_of(peers, arguments.base)
        if arguments.docs:
            page.spliced(arguments.docs.read_text(encoding="utf-8"), "")  # before an hour is spent
    except (OSError, ValueError) as error:
        options.error(str(error))
    if not arguments.models and any(peer.place is None for peer in peers):
        options.error("--models is needed to start servers")
    workloads = tuple(each for each in starts.ALL if not arguments.only or each.name in arguments.only)
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    plan = Plan(workloads, base, arguments.rounds, seed, arguments.limit_s)
    about = {"machine": machine.described(), "versions": machine.versions(setup, peers), "model": setup.model}
    num_idle = starts.allowed_streams(arguments.idle)
    with (
        tempfile.TemporaryDirectory(prefix="hutch-bench-", ignore_cleanup_errors=True) as folder,
        Fleet(peers, setup, Path(folder), arguments.timeout_s, num_idle) as fleet,
    ):
        report = asyncio.run(compare(fleet, peers, plan))
    if num_idle < arguments.idle:
        print(f"note: RLIMIT_NOFILE leaves room for {num_idle} idle streams, not for {arguments.idle}")
    return finish(report, about, arguments, page.shown(argv or sys.argv[1:]))


def finish(report: Report, about: dict[str, Any], arguments: argparse.Namespace, command: str) -> int:
    """Print the report and write its files."""
    print(table(report.lines, report.plan.base))
    judged = verdicts(report)
    for each in judged:
        print(told(each))
    for note in page.notes(report):
        print(f"note: {note}")
    for error, count in report.errors.items():
        print(f"error: {count} × {error[:300]}")
    drawn = draw(report)
    write(arguments.out, report, about, drawn)
    if arguments.docs:
        folder = arguments.docs.with_suffix("")
        folder.mkdir(exist_ok=True)
        for name, svg, _ in drawn:
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        pictures = [f"{folder.name}/{name}.svg" for name, _, _ in drawn]
        part = page.part(report, about, judged, pictures, command)
        text = page.spliced(arguments.docs.read_text(encoding="utf-8"), part)
        arguments.docs.write_text(text, encoding="utf-8")
    ours = {peer.name for peer in report.peers if peer.kind in OF_HUTCH}
    return 1 if ours & report.failed or not all(each.holds for each in judged if each.counts) else 0


def draw(report: Report) -> list[tuple[str, str, bytes]]:
    """The pictures: name, SVG, PNG."""
    lines = report.lines
    colour_of = picture.colours([peer.name for peer in report.peers])
    drawn = {
        "ratios": picture.ratios(lines, report.plan.base, colour_of) if len(report.peers) > 1 else [],
        "at-once": picture.at_once(lines, colour_of),
    }
    return [(name, document(shapes), png(shapes)) for name, shapes in drawn.items() if shapes]


def write(
    folder: Path, report: Report, about: dict[str, Any], drawn: Sequence[tuple[str, str, bytes]]
) -> None:
    """The raw figures and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg, image in drawn:
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        (folder / f"{name}.png").write_bytes(image)
    plan = {"seed": report.plan.seed, "rounds": report.plan.rounds, "base": report.plan.base}
    judged = [
        {"workload": each.target.workload, "figure": each.target.figure, "server": each.server, "base": each.base,
         "must": each.target.must, "aim": each.target.aim, "within": each.target.within, "verdict": each.word}
        for each in verdicts(report)
    ]  # fmt: skip
    content = {
        **about,
        **plan,
        "was_cut": report.was_cut,
        "servers": [asdict(peer) for peer in report.peers],
        "verdicts": judged,
        "errors": report.errors,
        **as_json(report.lines, report.turns),
    }
    (folder / "run.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _path(text: str) -> Path:
    return Path(text).absolute()  # and not resolved: the Python of a virtual environment is a link


def _peer(text: str) -> Peer:
    try:
        return Peer.parse(text)
    except (ValueError, HutchError) as error:  # argparse would keep its reason for itself
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not before the servers are ended
    sys.exit(main())
