"""Who a request comes from, judged by the key that it brings."""

import hmac
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

from hutch.core.access import ANONYMOUS, Principal
from hutch.core.errors import HutchError, Unauthenticated
from hutch.security.keys import PREFIX, Key, KeyFile, digest

_log = logging.getLogger(__name__)


class Authenticator(Protocol):
    """Tells principals apart."""

    def principal(self, credential: str) -> Principal:
        """Whose key this is; empty for none. Raises Unauthenticated."""


class Open:
    """Everybody is anonymous: for a server that was told so."""

    def principal(self, credential: str) -> Principal:  # noqa: ARG002
        """Anonymous, whatever the key."""
        return ANONYMOUS


class Keys:
    """Whoever has one of these keys may come in. `known` is asked at each request."""

    def __init__(self, known: Callable[[], Iterable[Key]]) -> None:
        self._known = known

    def principal(self, credential: str) -> Principal:
        """The principal of this key. Takes as long for a wrong key as for a right one."""
        sent = digest(credential)
        matching = [key for key in self._known() if hmac.compare_digest(sent, key.sha256)]
        if not credential or not matching:
            raise Unauthenticated(
                "unauthorized",
                hint="Send `Authorization: Bearer KEY`; the hutch command sends HUTCH_API_KEY. "
                "A key is made on the server's machine: `hutch keys create NAME`.",
            )
        if matching[0].has_expired(datetime.now(UTC)):
            raise Unauthenticated("this key has expired", hint="Ask for a new one: `hutch keys create NAME`.")
        return matching[0].principal


class Welcome:
    """Keys are known and none is needed: for a server that only this machine can reach.

    What is no key of Hutch's, such as the words that clients of OpenAI's API send because they must send something, is none.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def principal(self, credential: str) -> Principal:
        """The principal of this key, or anonymous without one. A key that was revoked is not taken for none."""
        if not credential.startswith(PREFIX):
            return ANONYMOUS
        try:
            return self._keys.principal(credential)
        except Unauthenticated as error:
            raise Unauthenticated(
                "this key is not known here" if error.message == "unauthorized" else error.message,
                hint="It may have been revoked, or be another server's. This server needs none: send no key.",
            ) from error


class Watched:
    """The keys of a file as they are now: commands change it while the server runs."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._stamp: object = ...
        self._keys: tuple[Key, ...] = ()
        self._problem: HutchError | None = None

    def __call__(self) -> tuple[Key, ...]:
        """The keys. Raises HutchError where the file cannot be read: then nobody is let in by an older one."""
        try:
            stamp = self._file.stamp()
            if stamp != self._stamp:
                self._keys, self._problem = self._file.read(), None
                self._stamp = stamp
        except (HutchError, OSError) as error:
            if self._problem is None:
                _log.error("no key can be checked: %s", error)
            self._stamp = ...  # look again at each request
            self._problem = HutchError(
                "the server cannot read its keys",
                hint="Its log says why. Whoever runs it can restore the file.",
            )
        if self._problem is not None:
            raise self._problem
        return self._keys
