"""The secret that states on disk are sealed with: from a file, or from the keyring of the operating system."""

import importlib
import os
import secrets
import stat
from pathlib import Path
from typing import NamedTuple

MIN_BYTES = 32
_MAX_BYTES = 4096
_SERVICE, _NAME = "hutch", "sealing-key"


class Found(NamedTuple):
    """The secret and where it is from; or no secret, and why. `remark`: what is wrong with the place."""

    secret: bytes | None
    told: str
    remark: str = ""


def find(file: Path | None) -> Found:
    """Look for it; a keyring that has none gets one. May wait long: a locked keyring asks its user."""
    return _in_file(file) if file is not None else _in_keyring()


def _in_file(path: Path) -> Found:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                return Found(None, f"{path} is not a regular file")
            secret = file.read(_MAX_BYTES + 1)
    except OSError as error:
        return Found(None, f"{path} cannot be read: {error.strerror}")
    if not MIN_BYTES <= len(secret) <= _MAX_BYTES:
        return Found(
            None, f"{path} has {len(secret):,} bytes, and a key has from {MIN_BYTES} to {_MAX_BYTES:,}"
        )
    is_open = os.name == "posix" and info.st_mode & 0o077
    return Found(secret, f"the key in {path}", f"others may read {path}" if is_open else "")


def _in_keyring() -> Found:
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return Found(None, "there is no key: key_file is not set, and keyring is not installed")
    try:
        text: str | None = keyring.get_password(_SERVICE, _NAME)
        if text is None:
            text = secrets.token_hex(MIN_BYTES)
            keyring.set_password(_SERVICE, _NAME, text)
            text = keyring.get_password(_SERVICE, _NAME)  # not every keyring keeps what it is given
    except (keyring.errors.KeyringError, RuntimeError, OSError) as error:
        why = f"no keyring answers ({type(error).__name__})"
        return Found(None, f"there is no key: key_file is not set, and {why}")
    if not text:
        return Found(None, "there is no key: key_file is not set, and the keyring keeps nothing")
    return Found(text.encode(), "the key in this user's keyring")
