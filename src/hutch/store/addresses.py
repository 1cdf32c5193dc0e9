"""Web addresses: where a request may go, where a redirect may lead, and what of an address may be shown."""

import enum
import ipaddress
import socket
import urllib.request
from urllib.parse import urljoin, urlsplit

import httpx2

from hutch.core.errors import SourceFailed

MAX_REDIRECTS = 5
_CONNECT_S = 10.0


class Reach(enum.IntEnum):
    """How far away a host is. What one says may lead as far away as it is itself, or farther, never nearer."""

    NOWHERE = 0  # link-local and such: where clouds keep their machines' secrets
    THIS_MACHINE = 1
    PRIVATE = 2
    PUBLIC = 3


def follow(
    client: httpx2.Client,
    url: str,
    headers: dict[str, str],
    *,
    stall_s: float,
    may_be_plain: bool,
    method: str = "GET",
) -> httpx2.Response:
    """Ask for a file, following redirects that stay as safe as the address was. The answer is still to be read."""
    shown, left = without_secrets(url), dict(headers)
    began = reach = _reach(url)
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and (may_be_plain or is_loopback(url))):
            raise SourceFailed(f"{without_secrets(url)} is not https", hint="Use an https address.")
        if reach < max(began, Reach.THIS_MACHINE):
            raise SourceFailed(f"{shown} leads to an address inside a private network")
        timeout = httpx2.Timeout(stall_s, connect=min(stall_s, _CONNECT_S))
        request = client.build_request(method, url, headers=left, timeout=timeout)
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if began > Reach.THIS_MACHINE:
                _check_peer(response, shown, began)
            if not response.has_redirect_location:
                return response
            url = urljoin(url, response.headers["Location"])
            if parts.scheme == "https" and urlsplit(url).scheme != "https":
                raise SourceFailed(f"{shown} leads away from https")
            if urlsplit(url).netloc != parts.netloc:
                left.pop("Authorization", None)  # it was meant for that host alone
            reach = _reach(url)
        except BaseException:
            response.close()
            raise
        response.close()
    raise SourceFailed(f"{shown} leads on more than {MAX_REDIRECTS} times")


def without_secrets(url: str) -> str:
    """An address as it may be shown: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine by its own words."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reach(url: str) -> Reach:
    """The nearest of a host's addresses. A host that we cannot look up is the proxy's to judge."""
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Reach.PUBLIC
    return min(_reach_of(str(each[4][0])) for each in found)


def _reach_of(text: str) -> Reach:
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:
        return Reach.THIS_MACHINE
    if address.is_link_local or address.is_multicast:
        return Reach.NOWHERE
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def _check_peer(response: httpx2.Response, shown: str, at_least: Reach) -> None:
    """Look at who really answered: a name may mean one address when asked about and another when connected to."""
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer is None or urllib.request.getproxies():  # behind a proxy, the peer is the proxy
        return
    if _reach_of(str(peer[0])) < at_least:
        raise SourceFailed(f"{shown} leads to an address inside a private network")
