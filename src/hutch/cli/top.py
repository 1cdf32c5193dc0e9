"""`hutch top`: models, slots, the queue and who uses them, as they change."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from hutch.cli import columns, http, plain

_EVERY_S = 1.0
_MOST = 40  # principals shown


def top(args: argparse.Namespace) -> None:
    """Show it once, or again each second until Ctrl-C."""
    told = http.ask("GET", "/api/queue")
    if args.json:
        print(json.dumps(told, indent=2))
    elif args.once or not sys.stdout.isatty():
        plain.out(page(told))
    else:
        _watch(told)


def page(told: Mapping[str, Any]) -> str:
    """The text of one look."""
    memory = told["memory"]
    size = columns.human_size
    head = (
        f"slots {told['busy']} of {told['slots']} busy, {told['queued']} waiting of {told['max_queue']} at most, "
        f"memory {size(memory['free_bytes'])} of {size(memory['total_bytes'])} free"
    )
    models = [
        (
            model["name"],
            model["engine"],
            str(model["state"]),
            f"{model['busy']}/{model['slots']}",
            str(model["queued"]),
            f"{model['tokens_per_second']:.1f}",
            size(model["memory_bytes"]),
        )
        for model in told["models"]
    ]
    busiest = sorted(told["principals"], key=_busyness, reverse=True)
    principals = [
        (
            who["name"] or who["id"],
            f"{who['weight']:g}",
            str(who["priority"]),
            str(who["busy"]),
            str(who["queued"]),
            f"{who['tokens_per_second']:.1f}",
            str(who["requests"]),
            str(who["refused"]),
            str(who["prompt_tokens"] + who["completion_tokens"]),
        )
        for who in busiest[:_MOST]
    ]
    of_models = ("MODEL", "ENGINE", "STATE", "SLOTS", "WAITING", "TOKENS/S", "MEMORY")
    of_principals = (
        *("PRINCIPAL", "WEIGHT", "PRIORITY", "SLOTS", "WAITING"),
        *("TOKENS/S", "REQUESTS", "REFUSED", "TOKENS"),
    )
    return "\n\n".join([head, columns.table(of_models, models), columns.table(of_principals, principals)])


def _busyness(who: Mapping[str, Any]) -> tuple[float, ...]:
    return who["busy"] + who["queued"], who["tokens_per_second"], who["requests"]


def _watch(told: Mapping[str, Any]) -> None:
    live, text = importlib.import_module("rich.live"), importlib.import_module("rich.text")
    with live.Live(text.Text(plain.printable(page(told))), screen=True, auto_refresh=False) as screen:
        while True:
            time.sleep(_EVERY_S)
            told = http.ask("GET", "/api/queue")
            screen.update(text.Text(plain.printable(page(told))), refresh=True)
