"""Who we are at a registry: what Docker's clients wrote down, and what the registry asks for. Read, never written."""

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from hutch import places
from hutch.core.errors import FormatError
from hutch.store import layout

_MAX_FILE_BYTES = 1 << 20
_MAX_HEADER_CHARS = 8192
_SCHEME = re.compile(r"\b(basic|bearer)\s", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Challenge(NamedTuple):
    """What a registry answers to whoever it does not know: how to say who one is, and where."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""

    @classmethod
    def parse(cls, header: str) -> "Challenge | None":
        """Read `WWW-Authenticate`; None where it asks for what we cannot do."""
        header = header[:_MAX_HEADER_CHARS]
        schemes = {match[1].lower(): match.end() for match in _SCHEME.finditer(header)}
        scheme = "bearer" if "bearer" in schemes else "basic"
        if scheme not in schemes:
            return None
        said = dict(_PARAMETER.findall(header[schemes[scheme] :]))
        return cls(scheme, said.get("realm", ""), said.get("service", ""), said.get("scope", ""))


def authorization(host: str) -> str:
    """The `Authorization` for a registry's host; empty where no login is written down. Raises FormatError."""
    found = places.docker_logins()
    try:
        text = layout.read_bounded(found, _MAX_FILE_BYTES).decode() if isinstance(found, Path) else found
        logins = json.loads(text).get("auths") or {}
        return next((_header(login) for key, login in logins.items() if _host(key) == host.lower()), "")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        where = found if isinstance(found, Path) else "DOCKER_AUTH_CONFIG"  # its text is secret
        raise FormatError(
            f"{where} is no configuration of Docker", hint="Mend it, or log in again."
        ) from None


def _host(key: str) -> str:
    return (
        key.partition("://")[2].partition("/")[0].lower() if "://" in key else key.partition("/")[0].lower()
    )


def _header(login: dict[str, Any]) -> str:
    if token := login.get("registrytoken"):
        return f"Bearer {token}"
    packed = login.get("auth") or ""
    if "username" in login and "password" in login:
        packed = base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
    base64.b64decode(packed, validate=True)
    return f"Basic {packed}" if packed else ""
