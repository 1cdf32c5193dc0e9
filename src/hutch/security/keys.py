"""API keys: what is known of each, and the file that holds them.

A key is 256 random bits, and the file has its SHA-256 alone. For a password that would be too fast a hash: whoever steals the
file could try likely ones. There are no likely ones among 2^256, and a slow hash would only cost each request its time.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hutch import files
from hutch.core.access import UNLIMITED, Allowance, Principal
from hutch.core.errors import BadInput, Conflict, NotFound
from hutch.core.names import ModelName

PREFIX = "hutch-"
_SECRET_BYTES = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_LOCK_WITHIN_S = 10.0
MAX_WEIGHT = 1000.0
MAX_PRIORITY = 100
MAX_LIMIT = 10**9
_MAX_MODELS = 1000


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `sha256` is the digest of its text, in hexadecimal; `expires_at` is None for never."""

    name: str
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    allowance: Allowance = UNLIMITED

    @property
    def principal(self) -> Principal:
        """Whoever has this key. By the digest and not by the name: a new key of an old name inherits nothing."""
        return Principal(f"key:{self.sha256[:16]}", self.name, self.allowance)

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def new_key(
    name: str, *, expires_at: datetime | None = None, allowance: Allowance = UNLIMITED
) -> tuple[Key, str]:
    """A new key, and its text, which is not kept anywhere. Raises BadInput."""
    text = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    now = datetime.now(UTC).replace(microsecond=0)
    return checked(Key(name, digest(text), now, expires_at, allowance)), text


def checked(key: Key) -> Key:
    """The key, if all that is said of it is in range. Raises BadInput."""
    allowance = key.allowance
    if not _NAME.fullmatch(key.name):
        raise BadInput(
            f"{key.name[:100]!r} is no name of a key",
            hint="A name has at most 64 letters, digits, and any of _ . @ - behind the first.",
        )
    if not 0 < allowance.weight <= MAX_WEIGHT:
        raise BadInput(f"the weight must be above 0 and at most {MAX_WEIGHT:g}")
    if not -MAX_PRIORITY <= allowance.priority <= MAX_PRIORITY:
        raise BadInput(f"the priority must be from -{MAX_PRIORITY} to {MAX_PRIORITY}")
    if not all(0 <= n <= MAX_LIMIT for n in (allowance.requests_per_minute, allowance.tokens_per_minute)):
        raise BadInput(f"a limit must be from 0, which is none, to {MAX_LIMIT}")
    if len(allowance.models or ()) > _MAX_MODELS:
        raise BadInput(f"a key names at most {_MAX_MODELS} models")
    return key


class KeyFile:
    """The file of keys. Written by commands and by a server that starts, each whole and one after the other; read by all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether there is one."""
        return self.path.exists()

    def read(self) -> tuple[Key, ...]:
        """The keys; none where there is no file. Raises BadInput where it is damaged."""
        try:
            return _keys(json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadInput) as error:
            raise BadInput(
                f"{self.path} is damaged", hint="Restore it, or remove it to get a new key."
            ) from error

    def stamp(self) -> object:
        """A value that is another one once the file is."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def add(self, key: Key) -> None:
        """Keep a key. Raises Conflict where one of its name is there."""

        def added(keys: Sequence[Key]) -> Iterable[Key]:
            if any(each.name.lower() == key.name.lower() for each in keys):
                raise Conflict(
                    f"there is a key '{key.name}' already",
                    hint=f"Choose another name, or first run `hutch keys revoke {key.name}`.",
                )
            return (*keys, key)

        self._change(added)

    def revoke(self, name: str) -> None:
        """Forget a key. Raises NotFound."""

        def without(keys: Sequence[Key]) -> Iterable[Key]:
            left = [each for each in keys if each.name.lower() != name.lower()]
            if len(left) == len(keys):
                raise NotFound(f"there is no key '{name[:100]}'", hint="See `hutch keys list`.")
            return left

        self._change(without)

    def first(self) -> str:
        """Make a first key and tell it; "" where there is a key already."""
        made = ""

        def begun(keys: Sequence[Key]) -> Iterable[Key]:
            nonlocal made
            if keys:
                return keys
            key, made = new_key("first")
            return (key,)

        self._change(begun)
        return made

    def _change(self, change: Callable[[Sequence[Key]], Iterable[Key]]) -> None:
        lock = self.path.with_name(f"{self.path.name}.lock")
        with files.locked(lock, f"changing {self.path}", _LOCK_WITHIN_S):
            before = self.read()
            after = tuple(change(before))
            if after == before and self.exists():
                return
            data = json.dumps({"keys": [_json(each) for each in after]}, indent=1).encode()
            files.write_whole(self.path, data, self.path.with_name(f".{self.path.name}.{os.getpid()}"), 0o600)


def told(key: Key) -> dict[str, Any]:
    """What may be told of a key. Not its digest, which nobody needs."""
    return {name: value for name, value in _json(key).items() if name != "sha256"}


def _json(key: Key) -> dict[str, Any]:
    allowance = key.allowance
    return {
        "name": key.name,
        "sha256": key.sha256,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "models": None if allowance.models is None else [name.short for name in allowance.models],
        "weight": allowance.weight,
        "priority": allowance.priority,
        "requests_per_minute": allowance.requests_per_minute,
        "tokens_per_minute": allowance.tokens_per_minute,
    }


def _keys(told: Any) -> tuple[Key, ...]:
    listed = told["sha256"] if "sha256" in told else told["keys"]
    if not isinstance(listed, list):
        raise TypeError("the keys are no list")
    if "sha256" in told:  # as the first servers wrote it: digests without names
        listed = [{"name": f"first-{i}" if i else "first", "sha256": each} for i, each in enumerate(listed)]
    keys = tuple(map(_key, listed))
    if len({key.name.lower() for key in keys}) < len(keys):
        raise ValueError("two keys have one name")
    return keys


def _key(told: Mapping[str, Any]) -> Key:
    sha256, models = told["sha256"], told.get("models")
    if not isinstance(sha256, str) or not _DIGEST.fullmatch(sha256):
        raise ValueError("no SHA-256 digest")
    if models is not None and not isinstance(models, list):  # a text would be taken letter by letter
        raise TypeError("the models are no list")
    return checked(
        Key(
            name=str(told["name"]),
            sha256=sha256,
            created_at=_time(told.get("created_at") or "1970-01-01T00:00:00+00:00"),
            expires_at=_time(told["expires_at"]) if told.get("expires_at") is not None else None,
            allowance=Allowance(
                weight=float(told.get("weight", 1.0)),
                priority=int(told.get("priority", 0)),
                requests_per_minute=int(told.get("requests_per_minute", 0)),
                tokens_per_minute=int(told.get("tokens_per_minute", 0)),
                models=None if models is None else tuple(map(ModelName.parse, models)),
            ),
        )
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
