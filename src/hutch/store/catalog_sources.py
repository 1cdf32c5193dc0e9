"""The catalogs that the settings name: files, and addresses, of which a copy is kept for when nobody answers."""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2

from hutch import __version__, files, places
from hutch.core.errors import Damaged, SourceFailed
from hutch.store import catalog, layout
from hutch.store.addresses import follow, without_secrets
from hutch.store.catalog import MAX_CATALOG_BYTES, Layer
from hutch.store.registry.client import read

_FRESH_S = 3600.0  # a copy that is younger is used without asking
_WITHIN_S = 15.0
_HINT = "Take it out of the setting catalog, or try again."


class Found(NamedTuple):
    """What the catalogs say, in their order, and what is to be told about them."""

    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()


def layers(named: Sequence[str]) -> Found:
    """Read every catalog. Raises Damaged, and SourceFailed for an address that has no copy here either."""
    found: list[Layer] = []
    notes: list[str] = []
    for each in named:
        if each.lower().startswith(("https://", "http://")):
            layer, note = _fetched(each)
            notes += [note] if note else []
        else:
            layer = catalog.read(places.home() / Path(each).expanduser())
        found.append(layer)
    return Found(tuple(found), tuple(notes))


def _fetched(url: str) -> tuple[Layer, str]:
    """The catalog at an address, and what to say where it is an old copy of it."""
    shown = without_secrets(url)
    copy = places.catalogs() / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.toml"
    age_s = _age_s(copy)
    if age_s is not None and 0 <= age_s < _FRESH_S:
        return _copied(copy, shown), ""
    try:
        data = _bytes(url, shown)
    except SourceFailed as problem:
        if age_s is None:
            problem.hint = problem.hint or _HINT
            raise
        return _copied(copy, shown), f"note: {problem.message}: the copy of {_ago(age_s)} is used"
    layer = catalog.parse(data, shown)  # before it is kept: what is wrong in it is told, and the copy stays
    try:
        files.write_whole(copy, data, copy.with_name(f".{copy.name}.{os.urandom(8).hex()}"), 0o600)
    except OSError as problem:
        return layer, f"note: no copy of catalog {shown} can be kept in {copy.parent}: {problem.strerror}"
    return layer, ""


def _copied(copy: Path, shown: str) -> Layer:
    try:
        return catalog.parse(layout.read_bounded(copy, MAX_CATALOG_BYTES), shown)
    except OSError as problem:
        raise Damaged(f"{copy}: {problem.strerror}", hint="Remove it: it is fetched again.") from None


def _bytes(url: str, shown: str) -> bytes:
    """What is at an address. Raises SourceFailed."""
    headers = {"Accept-Encoding": "identity", "User-Agent": f"hutch/{__version__}"}
    try:
        urlsplit(url)
        with httpx2.Client() as client:
            response = follow(client, url, headers, stall_s=_WITHIN_S, may_be_plain=False)
            with closing(response):
                answer = read(response, MAX_CATALOG_BYTES, _WITHIN_S)
    except httpx2.HTTPError as problem:
        raise SourceFailed(f"catalog {shown} cannot be reached: {problem}") from problem
    except (httpx2.InvalidURL, ValueError) as problem:
        raise SourceFailed(f"catalog {shown}: {problem}") from problem
    if answer.status != 200:
        raise SourceFailed(f"catalog {shown}: the server answered {answer.status}")
    return answer.body


def _age_s(copy: Path) -> float | None:
    """How long ago a copy was made; None where there is none."""
    try:
        return time.time() - copy.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None


def _ago(age_s: float) -> str:
    hours = max(0, round(age_s / 3600))
    return f"{hours} hours ago" if hours < 48 else f"{hours // 24} days ago"
