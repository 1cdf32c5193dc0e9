"""One repository of a registry, asked over HTTP: who we are is told to its own host alone, and no answer is read without a bound."""

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx2

from hutch import __version__
from hutch.core.errors import BadInput, HutchError, NotFound, SourceFailed
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.store.addresses import follow, without_secrets
from hutch.store.download import RETRIED, Patience, pause
from hutch.store.registry import logins
from hutch.store.registry.logins import Challenge

_MAX_TOKEN_BYTES = 1 << 20
_MAX_ANSWER_BYTES = 1 << 20
_MAX_WORDS_BYTES = 8192  # of an error
_PHRASES = MappingProxyType({each.value: each.phrase for each in HTTPStatus})


class Answer(NamedTuple):
    """A small answer, read to its end; of a refusal at least the beginning."""

    status: int
    headers: httpx2.Headers
    body: bytes


class Registry:
    """A repository. Threads may ask at once."""

    def __init__(self, client: httpx2.Client, name: ModelName, patience: Patience, *, insecure: bool) -> None:
        self.host = name.host
        self.patience = patience
        self._client = client
        self._insecure = insecure
        scheme = "http" if insecure else "https"
        self._base = f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}/"
        self._authorization = ""
        self._lock = threading.Lock()
        try:
            httpx2.URL(self._base)
            _ = urlsplit(self._base).port
        except (httpx2.InvalidURL, ValueError):
            raise BadInput(f"invalid registry {name.host!r}", hint="Write host or host:port.") from None

    def get(self, path: str, headers: dict[str, str], method: str = "GET") -> httpx2.Response:
        """Ask for something below the repository, wherever it leads. The answer is still to be read."""
        headers = {"Accept-Encoding": "identity", "User-Agent": f"hutch/{__version__}", **headers}
        return self._known(
            lambda who: follow(
                self._client,
                self._base + path,
                headers | who,
                stall_s=self.patience.stall_s,
                may_be_plain=self._insecure,
                method=method,
            )
        )

    def send(self, method: str, path: str, headers: dict[str, str], content: bytes = b"") -> httpx2.Response:
        """Send something to the registry itself; `path` may be an address that it gave. The answer is still to be read."""
        try:
            url = str(httpx2.URL(self._base).join(path))
        except (httpx2.InvalidURL, ValueError) as problem:
            raise SourceFailed(f"{self.host} gave what is no address: {problem}") from problem
        if _origin(url) != _origin(self._base):
            raise SourceFailed(f"{self.host} wants bytes sent to another host, {without_secrets(url)}")
        headers = {"User-Agent": f"hutch/{__version__}", **headers}

        def ask(who: dict[str, str]) -> httpx2.Response:
            request = self._client.build_request(
                method, url, headers=headers | who, content=content, timeout=self.patience.stall_s
            )
            return self._client.send(request, stream=True, follow_redirects=False)

        return self._known(ask)

    def _known(self, ask: Callable[[dict[str, str]], httpx2.Response]) -> httpx2.Response:
        """Ask, and where the registry wants to know who we are, tell it and ask again."""
        try:
            told = self._authorization
            response = ask({"Authorization": told} if told else {})
            if response.status_code == 401 and _origin(str(response.url)) == _origin(self._base):
                with closing(response):
                    challenge = Challenge.parse(response.headers.get("WWW-Authenticate", ""))
                with self._lock:
                    if self._authorization == told:  # no other thread was faster
                        self._authorization = self._answer(challenge)
                response = ask({"Authorization": self._authorization})
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as problem:
            raise Away(self.host, str(problem) or "no answer") from problem
        except (httpx2.InvalidURL, UnicodeError, ValueError) as problem:
            raise SourceFailed(f"{self.host}: {problem}") from problem
        return response

    def _answer(self, challenge: Challenge | None) -> str:
        """What to say to a challenge. Raises SourceFailed."""
        login = logins.authorization(self.host)
        if challenge is not None and challenge.scheme == "bearer" and not login.startswith("Bearer "):
            return f"Bearer {self._token(challenge, login)}"
        if challenge is None or not login:
            raise self.refused(401)
        return login

    def _token(self, challenge: Challenge, login: str) -> str:
        if _origin(challenge.realm) != _origin(self._base):
            raise SourceFailed(
                f"{self.host} wants its token fetched from elsewhere: {without_secrets(challenge.realm)[:200]}",
                hint="A token is asked for at the registry's own host alone.",
            )
        query = urlencode([("service", challenge.service), ("scope", challenge.scope)])
        url = f"{challenge.realm}{'&' if '?' in challenge.realm else '?'}{query}"
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": login} if login else {})
        stall_s = self.patience.stall_s
        response = follow(self._client, url, headers, stall_s=stall_s, may_be_plain=self._insecure)
        with closing(response):
            if response.status_code != 200:
                raise self.refused(response.status_code)
            data = read(response, _MAX_TOKEN_BYTES, stall_s).body
        try:
            document = json.loads(data)
            token = document.get("token") or document["access_token"]
            if not (isinstance(token, str) and token.isascii() and token.isprintable()):
                raise ValueError
        except (ValueError, KeyError, AttributeError, RecursionError):
            raise SourceFailed(f"{self.host} sent what is no token") from None
        return token

    def refused(self, status: int) -> HutchError:
        """The error for a registry that does not let us."""
        hint = f"Log in with Docker's `docker login {self.host}`, or set DOCKER_AUTH_CONFIG."
        return SourceFailed(f"{self.host} refuses without a login that it knows ({status})", hint=hint)

    def failed(self, status: int, what: str, body: bytes = b"") -> HutchError:
        """The error for an answer that is not the one that was hoped for."""
        if status in (401, 403):
            return self.refused(status)
        if (status, what) == (404, "manifest"):
            return NotFound(
                "pull model manifest: file does not exist", hint=f"{self.host} has no model of this name."
            )
        why = _words(body) or _PHRASES.get(status, "")
        article = "an" if what[0] in "aeiou" else "a"
        hint = "Most registries take names in lower case alone." if status in (400, 404) else ""
        return SourceFailed(
            f"{self.host} answered {status} for {article} {what}{': ' if why else ''}{why}", hint=hint
        )


class Away(SourceFailed):
    """A registry that cannot be reached."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"cannot reach {host}: {why}",
            hint="A registry without TLS needs --insecure."
            if "SSL" in why
            else "Look at the name's host, the network and the proxy.",
        )


def patiently(
    registry: Registry, ask: Callable[[], httpx2.Response], limit_bytes: int = _MAX_ANSWER_BYTES
) -> Generator[Progress, None, Answer]:
    """Ask, and ask again where that may help. Raises SourceFailed."""
    patience = registry.patience
    for attempt in range(1, patience.tries + 1):
        try:
            with closing(ask()) as response:
                if response.status_code not in RETRIED or attempt == patience.tries:
                    return read(response, limit_bytes, patience.stall_s)
        except httpx2.HTTPError as problem:
            if isinstance(problem, httpx2.TimeoutException) or attempt == patience.tries:
                why = str(problem) or type(problem).__name__
                raise SourceFailed(f"{registry.host}: {why}", hint="Try again later.") from problem
        yield from pause(patience.pause_s * 2 ** (attempt - 1))
    raise AssertionError  # the last attempt returned or raised


def read(response: httpx2.Response, limit_bytes: int, within_s: float) -> Answer:
    """A small answer as it is, never unpacked: nobody asked for it to be packed. Raises SourceFailed."""
    where, is_good = urlsplit(str(response.url)).netloc, response.status_code < 300
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise SourceFailed(f"{where} packs what was asked for as it is")
    data, until_s = bytearray(), time.monotonic() + within_s
    for chunk in response.iter_raw():
        data += chunk
        if len(data) > limit_bytes and is_good:
            raise SourceFailed(f"{where} sent more than {limit_bytes} bytes where few were expected")
        if len(data) > min(limit_bytes, _MAX_WORDS_BYTES) and not is_good:
            break
        if time.monotonic() > until_s:
            raise SourceFailed(f"{where} takes too long", hint="Try again.")
    return Answer(response.status_code, response.headers, bytes(data))


def _words(body: bytes) -> str:
    """What a registry says about an error, one line of it; empty where it says nothing that can be read."""
    try:
        document = json.loads(body)
        errors = document.get("errors")
        text = errors[0]["message"] if errors else document["error"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(each for each in str(text)[:200] if each.isprintable())


def _origin(url: str) -> tuple[str, str, int | None]:
    """Who answers at an address. Nobody does at what is none."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme,
            (parts.hostname or "").lower(),
            parts.port or {"https": 443, "http": 80}.get(parts.scheme),
        )
    except ValueError:
        return "", "", None
