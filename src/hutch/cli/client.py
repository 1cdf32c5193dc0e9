"""The client of the server's streams: one JSON object a line."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx2

from hutch import places
from hutch.cli import http
from hutch.core.errors import HutchError, NotFound
from hutch.sdk.lines import Cutter

_CONNECT_S = 5.0
_BLOCK_BYTES = 1 << 20


class Server(Protocol):
    """What a conversation needs of a server."""

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST, and read one JSON object."""

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """POST, and read an object a line. Raises what a line with `error` tells; closing it cancels."""


class HttpServer:
    """The server at HUTCH_HOST."""

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST, and read one JSON object."""
        return http.ask("POST", path, body)

    def stream(self, path: str, body: Mapping[str, Any], method: str = "POST") -> Iterator[dict[str, Any]]:
        """POST, and read an object a line. Raises what a line with `error` tells; closing it cancels."""
        address = places.server_address().for_client
        try:
            with _client(address) as client, client.stream(method, address.url + path, json=body) as response:
                if response.status_code >= 400:
                    raise http.error_of(response.status_code, response.read())
                yield from _objects(_lines(response.iter_bytes()))
        except httpx2.ConnectError as error:
            raise http.unreachable(address) from error
        except httpx2.HTTPError as error:
            raise HutchError(f"the server at {address.url} broke off: {error}") from error


def upload(digest: str, file: Path, tell: Callable[[int], None]) -> None:
    """Bring a file to the server unless it has it, and tell how many bytes have gone."""
    address = places.server_address().for_client
    path = f"/api/blobs/{digest}"
    try:
        http.ask("HEAD", path)
    except NotFound:
        pass
    else:
        return
    try:
        with _client(address) as client:
            size = {"Content-Length": str(file.stat().st_size)}
            response = client.post(address.url + path, content=blocks(file, tell), headers=size)
    except httpx2.HTTPError as error:
        raise HutchError(f"the server at {address.url} broke off: {error}") from error
    if response.status_code >= 400:
        raise http.error_of(response.status_code, response.content)


def blocks(file: Path, tell: Callable[[int], None]) -> Iterator[bytes]:
    """A file's bytes, telling how many are read."""
    sent_bytes = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block
            sent_bytes += len(block)
            tell(sent_bytes)


def _client(address: places.Address) -> httpx2.Client:
    # A proxy of the environment must not come between this machine and itself. An answer may take as long as it likes.
    timeout = httpx2.Timeout(None, connect=_CONNECT_S)
    return httpx2.Client(headers=http.headers(), timeout=timeout, trust_env=not address.is_loopback)


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Cut at line feeds alone, for a model may write other signs that end lines in Unicode."""
    cutter = Cutter()
    for part in parts:
        yield from cutter.lines(part)
    yield cutter.rest


def _objects(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    is_finished = False
    for line in lines:
        if not line.strip():
            continue
        told = _read(line)
        if "error" in told:
            raise http.error_told(str(told["error"]), told)
        is_finished = bool(told.get("done")) or told.get("status") == "success"
        yield told
    if not is_finished:
        raise HutchError("the server's answer broke off before its end", hint="Look at 'hutch logs'.")


def _read(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError as error:
        raise HutchError(
            f"the server sent what is no JSON: {line[:80].decode(errors='replace')!r}"
        ) from error
    if not isinstance(told, dict):
        raise HutchError(f"the server sent what is no JSON object: {line[:80].decode(errors='replace')!r}")
    return told
