"""Who a request comes from, judged by the key that it brings."""

import hashlib
import hmac
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from hutch.core.access import ANONYMOUS, Principal
from hutch.core.errors import BadInput, Unauthenticated

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Authenticator(Protocol):
    """Tells principals apart."""

    def principal(self, credential: str) -> Principal:
        """Whose key this is; empty for none. Raises Unauthenticated."""


class Open:
    """Everybody is anonymous: for a server that only this machine can reach, or that was told so."""

    def principal(self, credential: str) -> Principal:  # noqa: ARG002
        """Anonymous, whatever the key."""
        return ANONYMOUS


class Keys:
    """Whoever has one of these keys may come in. Only SHA-256 digests of the keys are kept."""

    def __init__(self, digests: Iterable[str]) -> None:
        self._digests = tuple(digests)

    def principal(self, credential: str) -> Principal:
        """The principal of this key. Takes as long for a wrong key as for a right one."""
        digest = _digest(credential)
        known = [hmac.compare_digest(digest, other) for other in self._digests]
        if not credential or not any(known):
            raise Unauthenticated(
                "unauthorized",
                hint="Send `Authorization: Bearer KEY`; the hutch command sends HUTCH_API_KEY.",
            )
        return Principal(f"key:{digest[:16]}")


def first_key(file: Path) -> tuple[Keys, str]:
    """The keys in `file`; where there are none a first one is made, returned, and never shown again."""
    if file.exists():
        try:
            digests = json.loads(file.read_text(encoding="utf-8"))["sha256"]
            if not isinstance(digests, list) or not all(_DIGEST.fullmatch(digest) for digest in digests):
                raise ValueError("no list of SHA-256 digests")
            return Keys(digests), ""
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{file} is damaged", hint="Restore it, or remove it to get a new key.") from error
    key = f"hutch-{secrets.token_urlsafe(32)}"
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump({"sha256": [_digest(key)]}, out)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(file)
    _settle(file.parent)
    return Keys([_digest(key)]), key


def _settle(folder: Path) -> None:
    """Have the disk know which names a folder has."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
