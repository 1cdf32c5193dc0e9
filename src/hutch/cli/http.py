"""Short JSON requests to the server. Standard library only: http.client alone would take 40 ms to import."""

import importlib
import json
import socket
from collections.abc import Mapping
from typing import Any

from hutch import places
from hutch.core import errors
from hutch.core.errors import HutchError, Unreachable

_CONNECT_S = 5.0
ANSWER_S = 300.0
_LONGEST_BYTES = 256 << 20

_BY_STATUS: Mapping[int, type[HutchError]] = {
    400: errors.BadInput,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    429: errors.OverLimit,
    502: errors.EngineFailed,
    503: errors.Busy,
    507: errors.NoRoom,
}


def ask(
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    at: places.Address | None = None,
    within_s: float = ANSWER_S,
) -> dict[str, Any]:
    """Send one request and read its JSON answer. Raises Unreachable where nothing listens."""
    data = b"" if body is None else json.dumps(body).encode()
    return _object(_answer(at or places.server_address(), method, path, data, within_s))


def text(path: str) -> str:
    """What a GET brings, as it stands. Raises Unreachable where nothing listens."""
    return _answer(places.server_address(), "GET", path, b"", ANSWER_S).decode(errors="replace")


def _answer(at: places.Address, method: str, path: str, data: bytes, within_s: float) -> bytes:
    address = at.for_client
    exchange = _exchange_tls if address.scheme == "https" else _exchange
    status, answer = exchange(address, method, address.path + path, data, within_s)
    if status >= 400:
        raise error_of(status, answer)
    return answer


def unreachable(address: places.Address) -> Unreachable:
    """The error of an address where nothing answers."""
    if address.is_loopback:
        return Unreachable(
            f"could not connect to a hutch server at {address.url}, run 'hutch serve' to start it"
        )
    return Unreachable(
        f"could not connect to a hutch server at {address.url}",
        hint="Start it there with 'hutch serve', or name another address in HUTCH_HOST.",
    )


def headers() -> dict[str, str]:
    """What every request carries."""
    key = places.api_key()
    return {"Authorization": f"Bearer {key}"} if key else {}


def error_of(status: int, answer: bytes) -> HutchError:
    """The error that an answer tells, by its code or else by its status."""
    told = _object(answer)
    message = told.get("error")
    if isinstance(message, dict):  # as OpenAI writes it
        message = message.get("message")
    return error_told(str(message or f"the server answered with status {status}"), told, status)


def error_told(message: str, told: Mapping[str, Any], status: int = 500) -> HutchError:
    """The error of one JSON object with `error` in it."""
    kinds = [HutchError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    by_code = {kind.code: kind for kind in kinds}
    kind = by_code.get(str(told.get("code")), _BY_STATUS.get(status, HutchError))
    return kind(message, hint=str(told.get("hint") or ""))


def _object(answer: bytes) -> dict[str, Any]:
    try:
        value = json.loads(answer) if answer.strip() else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _exchange(
    address: places.Address, method: str, path: str, data: bytes, within_s: float
) -> tuple[int, bytes]:
    """One HTTP/1.0 exchange over a plain socket: no chunks, and the end of the stream is the end."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [f"{method} {path} HTTP/1.0", f"Host: {host}:{address.port}", f"Content-Length: {len(data)}"]
    lines += ["Content-Type: application/json", *(f"{name}: {value}" for name, value in headers().items())]
    name: Any = address.host.encode() if address.host.isascii() else address.host  # spares importing a codec
    try:
        connection = socket.create_connection((name, address.port), _CONNECT_S)
    except OSError as error:
        raise unreachable(address) from error
    with connection:
        connection.settimeout(within_s)
        try:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
            with connection.makefile("rb") as stream:
                answer = stream.read(_LONGEST_BYTES)
        except OSError as error:
            raise HutchError(f"the server at {address.url} broke off: {error}") from error
    head, _, rest = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise HutchError(f"what answers at {address.url} is no hutch server")
    return int(words[1]), rest


def _exchange_tls(
    address: places.Address, method: str, path: str, data: bytes, within_s: float
) -> tuple[int, bytes]:
    client = importlib.import_module("http.client")
    connection = client.HTTPSConnection(address.host, address.port, timeout=within_s)
    try:
        connection.request(method, path, data, {"Content-Type": "application/json", **headers()})
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST_BYTES)
    except client.HTTPException as error:
        raise HutchError(f"what answers at {address.url} is no hutch server") from error
    except OSError as error:
        raise Unreachable(f"could not connect to {address.url}: {error}") from error
    finally:
        connection.close()
