"""Who a request comes from, judged by the key that it brings."""

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from hutch import files
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
    data = json.dumps({"sha256": [_digest(key)]}).encode()
    files.write_whole(file, data, file.with_name(f".{file.name}.{os.getpid()}"), 0o600)
    return Keys([_digest(key)]), key


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
