"""`hutch prune`: removes files that no model uses."""

import argparse
import json
import sys

from hutch import places
from hutch.cli import columns, http, local, side
from hutch.core.errors import BadInput


def prune(args: argparse.Namespace) -> None:
    """List what would go, ask, and remove it. The store's locks are shared with a server that runs here."""
    if not side.is_here():
        raise http.unreachable(places.server_address())
    plan = local.prune_plan()
    if args.json:
        files = [{"path": each.path, "size": each.size_bytes} for each in plan]
        print(json.dumps({"files": files, "size": sum(each.size_bytes for each in plan)}, indent=2))
    elif plan:
        rows = [(each.path, columns.human_size(each.size_bytes)) for each in plan]
        print(columns.table(("FILE", "SIZE"), rows))
    else:
        print("nothing to remove")
    if plan and _may(args):
        gone = local.prune(plan)
        size = columns.human_size(sum(each.size_bytes for each in gone))
        print(
            f"removed {len(gone)} {'file' if len(gone) == 1 else 'files'}, {size}",
            file=sys.stderr if args.json else sys.stdout,
        )


def _may(args: argparse.Namespace) -> bool:
    if args.yes:
        return True
    if args.json:
        return False  # a list for a program, and no question
    if not sys.stdin.isatty():
        raise BadInput("nothing is removed unasked", hint="Add --yes to remove these files.")
    return input("Remove these files? [y/N] ").strip().lower() in ("y", "yes")
