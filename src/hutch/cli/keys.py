"""`hutch keys`: the keys of servers that run from this machine's HUTCH_HOME. They notice a change at their next request."""

import argparse
import json
import re
import sys
from datetime import UTC, datetime, timedelta

from hutch import places
from hutch.cli import columns, plain, side
from hutch.core.access import Allowance
from hutch.core.durations import parse_duration_s
from hutch.core.errors import BadInput
from hutch.core.names import ModelName
from hutch.security.keys import Key, KeyFile, new_key, told

_DAYS = {"d": 1, "w": 7, "y": 365}
_MAX_DAYS = 36500


def create(args: argparse.Namespace) -> None:
    """`hutch keys create NAME`."""
    allowance = Allowance(
        weight=args.weight,
        priority=args.priority,
        requests_per_minute=args.requests_per_minute,
        tokens_per_minute=args.tokens_per_minute,
        models=tuple(map(ModelName.parse, args.models)) if args.models else None,
    )
    key, text = new_key(args.name, expires_at=expiry(args.expires, datetime.now(UTC)), allowance=allowance)
    _file().add(key)
    if args.json:
        print(json.dumps({**told(key), "key": text}, indent=2))
    else:
        print(text)
        plain.err(f"This is the key of '{key.name}'. It is shown only now: its digest alone is kept.")


def list_keys(args: argparse.Namespace) -> None:
    """`hutch keys list`."""
    keys = _file().read()
    if args.json:
        print(json.dumps({"keys": [told(key) for key in keys]}, indent=2))
        return
    now = datetime.now(UTC)
    head = ("NAME", "CREATED", "EXPIRES", "MODELS", "WEIGHT", "PRIORITY", "REQUESTS/MIN", "TOKENS/MIN")
    plain.out(columns.table(head, [_row(key, now) for key in keys]))


def revoke(args: argparse.Namespace) -> None:
    """`hutch keys revoke NAME`."""
    _file().revoke(args.name)
    print(f"revoked '{args.name}'")


def expiry(text: str | None, now: datetime) -> datetime | None:
    """When a key ends that is said to last so long, or until then; None where nothing is said. Raises BadInput."""
    if text is None:
        return None
    if match := re.fullmatch(r"(\d{1,5})([dwy])", text):
        ends_in = timedelta(days=int(match[1]) * _DAYS[match[2]])
    elif re.match(r"\d{4}-", text):
        ends_in = _date(text) - now
    else:
        seconds = parse_duration_s(text)
        ends_in = timedelta(seconds=min(max(seconds, 0.0), (_MAX_DAYS + 1) * 86400.0))
    if not timedelta() < ends_in <= timedelta(days=_MAX_DAYS):
        raise BadInput(
            f"--expires {text}: it must lie ahead, and less than a hundred years",
            hint="Write 30d, 12h, 2w, or a day such as 2027-01-31.",
        )
    return now.replace(microsecond=0) + ends_in


def _date(text: str) -> datetime:
    try:
        return columns.parse_time(text)
    except ValueError as error:
        raise BadInput(
            f"--expires {text}: there is no such day", hint="Write it like 2027-01-31, or 30d, 12h, 2w."
        ) from error


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    allowance = key.allowance
    expires = columns.human_time(key.expires_at.isoformat()) if key.expires_at else "Never"
    return (
        key.name,
        columns.human_time(key.created_at.isoformat(), now=now),
        "expired" if key.has_expired(now) else expires,
        ", ".join(name.short for name in allowance.models) if allowance.models is not None else "all",
        f"{allowance.weight:g}",
        str(allowance.priority),
        str(allowance.requests_per_minute or "-"),
        str(allowance.tokens_per_minute or "-"),
    )


def _file() -> KeyFile:
    file = KeyFile(places.keys_file())
    if not side.is_here():
        address = places.server_address().url
        print(
            f"note: these are the keys in {file.path}, not those of the server at {address}", file=sys.stderr
        )
    return file
