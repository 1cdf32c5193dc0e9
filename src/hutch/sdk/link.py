"""What both clients know of their server, and how its library's errors read. It opens no connection itself."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import httpx2

from hutch import places
from hutch.core.errors import BadInput, Unreachable
from hutch.sdk.calls import Call, StreamCall, nothing
from hutch.sdk.failures import BadAnswer, BrokenOff, NoAnswer, TooSlow, failure
from hutch.sdk.fields import Fields
from hutch.sdk.retries import Retries

T = TypeVar("T")
MAX_ANSWER_BYTES = 256 << 20
_CONNECT_S = 5.0
_CODES_OF_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Link:
    """A server's address, the key for it, and how patient its client is."""

    address: places.Address
    key: str
    timeout_s: float | None
    retries: Retries

    @classmethod
    def to(
        cls, base_url: str | None, api_key: str | None, timeout_s: float | None, retries: Retries | None
    ) -> "Link":
        """From what a program says, else from HUTCH_HOST and HUTCH_API_KEY. Raises BadInput."""
        address = places.server_address() if base_url is None else places.Address.parse(base_url)
        key = places.api_key() if api_key is None else api_key
        if not (key.isascii() and key.isprintable()):
            raise BadInput(
                "the API key has a character that no header can carry", hint="Look at HUTCH_API_KEY."
            )
        link = cls(address.for_client, key, None, retries or Retries())
        return link.patient(timeout_s)

    def patient(self, timeout_s: float | None) -> "Link":
        """The same with another timeout. Raises BadInput."""
        if timeout_s is not None and not timeout_s > 0:
            raise BadInput("timeout_s: it must be more than 0", hint="None waits without end.")
        return replace(self, timeout_s=timeout_s)

    def library_settings(self) -> dict[str, Any]:
        """How httpx2's clients are made: a proxy of the environment must not come between this machine and itself."""
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        return {"trust_env": not self.address.is_loopback, "limits": limits}

    def request_settings(self, call: Call[Any], content: Any, size_bytes: int | None) -> dict[str, Any]:
        """What httpx2 builds the request from. Raises BadInput for a body that is no JSON."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        elif call.body is not None:
            headers["Content-Type"] = "application/json"
            content = _json(call.body)
        connect_s = _CONNECT_S if self.timeout_s is None else min(_CONNECT_S, self.timeout_s)
        timeout = httpx2.Timeout(self.timeout_s, connect=connect_s)
        url = self.address.url + call.path
        return {"method": call.method, "url": url, "headers": headers, "content": content, "timeout": timeout}

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell httpx2's errors as Hutch's."""
        where = self.address.url
        try:
            yield
        except httpx2.ConnectTimeout as error:
            raise NoAnswer(f"nothing at {where} took the connection", hint="Look at the address.") from error
        except httpx2.ConnectError as error:
            hint = "Start it with `hutch serve`, or name another address in HUTCH_HOST or base_url."
            raise Unreachable(
                f"could not connect to a hutch server at {where}: {error}", hint=hint
            ) from error
        except httpx2.TimeoutException as error:
            hint = "Give the client a longer timeout_s, or look at `hutch ps`."
            raise TooSlow(f"the server at {where} was silent for {self.timeout_s} s", hint=hint) from error
        except httpx2.HTTPError as error:
            hint = "Send the request again; `hutch logs` may tell why."
            raise BrokenOff(f"the server at {where} broke off: {error}", hint=hint) from error
        except (httpx2.InvalidURL, UnicodeError) as error:  # the second for a name that DNS cannot hold
            raise BadInput(
                f"invalid address {where!r}: {error}", hint="Write host:port or http://host:port."
            ) from error


class Body:
    """An answer's bytes as they come, up to what is reasonable."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def add(self, part: bytes) -> None:
        """Take some. Raises BadAnswer when it becomes too much."""
        self._parts.append(part)
        self._size_bytes += len(part)
        if self._size_bytes > MAX_ANSWER_BYTES:
            raise BadAnswer(f"the server's answer has more than {MAX_ANSWER_BYTES >> 20} MiB")

    def result(self, call: Call[T], response: httpx2.Response) -> T:
        """What the whole answer says. Raises the error that it is."""
        data = b"".join(self._parts)
        if response.status_code not in _CODES_OF_SUCCESS:
            raise failure(response.status_code, response.headers, data)
        if call.read is nothing and not data.strip():
            return call.read(Fields({}))
        fields = Fields.parse(data)
        if fields.raw.get("error") and "id" not in fields.raw:  # a 200 that hides a failure
            raise failure(response.status_code, response.headers, data)
        return call.read(fields)


class Reading(Generic[T]):
    """A streamed answer: bytes in, results out, and an error where its last piece never came."""

    def __init__(self, call: StreamCall[T]) -> None:
        self._call = call
        self._pieces = call.pieces()
        self._is_whole = False

    def feed(self, data: bytes) -> Iterator[T]:
        """The results that these bytes end."""
        yield from map(self._read, self._pieces.feed(data))

    def end(self) -> Iterator[T]:
        """Nothing more comes. Raises BrokenOff where the answer has no end."""
        yield from map(self._read, self._pieces.end())
        if not self._is_whole:
            raise BrokenOff("the server's answer broke off before its end", hint="Look at `hutch logs`.")

    def _read(self, fields: Fields) -> T:
        piece = self._call.read(fields)
        self._is_whole = self._is_whole or self._call.is_last(piece)
        return piece


def is_success(response: httpx2.Response) -> bool:
    """Whether the answer's status is one of success; a redirection is none."""
    return response.status_code in _CODES_OF_SUCCESS


def _json(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"the request cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    """Mappings and sequences of other kinds than JSON's own."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise TypeError(f"{type(value).__name__} is none of its types")
