"""`hutch tune`: measures how models are best launched on this machine, and keeps it for later loads."""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

from hutch import files, places
from hutch.cli import columns, plain, side, steps
from hutch.cli.steps import Tell
from hutch.core.errors import BadInput, HutchError, NotBuilt
from hutch.core.names import ModelName
from hutch.optimize import tuning
from hutch.optimize.tuning import Found
from hutch.store.local import local_store
from hutch.store.store import ModelStore

_LEAST_S = 5.0  # in less nothing can be told


def tune(args: argparse.Namespace) -> int:
    """Tune the named model, or all that write text while there is time."""
    if not side.is_here():
        raise NotBuilt("models are tuned on the machine that has them", hint="Run this command there.")
    if not _LEAST_S <= args.seconds <= 3600:
        raise BadInput(f"--seconds takes a number from {_LEAST_S:g} to 3600")
    store = local_store()
    with steps.shown() as tell, files.locked(places.tuned() / ".lock", "tuning", 0.0):
        try:
            found = list(_named(store, args, tell) if args.model else _all(store, args, tell))
        except KeyboardInterrupt:
            plain.err("stopped: models that were done are tuned, and the others as they were")
            raise
    if args.json:
        print(json.dumps({"models": [_json(name, each) for name, each in found]}, indent=2))
        return 0
    for name, each in found:
        plain.out(_told(name, each))
    if not found:
        plain.err("no GGUF model that writes text was tuned")
    return 0


def _named(store: ModelStore, args: argparse.Namespace, tell: Tell) -> Iterator[tuple[str, Found]]:
    name = ModelName.parse(args.model)
    yield name.short, asyncio.run(tuning.tune(store, name, tell, args.seconds, force=args.force))


def _all(store: ModelStore, args: argparse.Namespace, tell: Tell) -> Iterator[tuple[str, Found]]:
    """The newest first, each with its part of the time."""
    deadline = time.monotonic() + args.seconds
    names = [model.name for model in store.list() if model.details.format == "gguf"]
    for index, name in enumerate(names):
        budget_s = (deadline - time.monotonic()) / (len(names) - index)
        if budget_s < _LEAST_S:
            plain.err(f"no time was left for {name.short}: hutch tune {name.short}")
            continue
        try:
            yield name.short, asyncio.run(tuning.tune(store, name, tell, budget_s, force=args.force))
        except HutchError as error:
            plain.err(f"{error.message}{'' if isinstance(error, BadInput) else f'. {error.hint}'}")


def _told(name: str, found: Found) -> str:
    finding = found.finding
    said = columns.named(finding.values.said)
    what = f"{said}: {finding.gain:.2f} times as fast as by default" if said else "best as it is by default"
    if not found.is_new:
        return f"{name} is already tuned: {what} (--force measures anew)"
    more = "" if finding.is_whole else "; there was no time for everything: --seconds gives more"
    return f"{name}: {what}{more}"


def _json(name: str, found: Found) -> dict[str, Any]:
    finding = found.finding
    return {
        "model": name,
        "already": not found.is_new,
        "complete": finding.is_whole,
        "values": finding.values.said,
        "gain": finding.gain,
        "conditions": dict(finding.conditions),
        "at": finding.at,
        "trials": [
            {
                "values": each.values.said,
                "gain": round(each.gain, 3),
                "better": each.is_better,
                "problem": each.problem,
            }
            for each in found.trials
        ],
    }
