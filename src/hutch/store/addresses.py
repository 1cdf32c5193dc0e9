"""Web addresses: where a request may go, where a redirect may lead, and what of an address may be shown."""

import ipaddress
import socket
import urllib.request
from urllib.parse import urljoin, urlsplit

import httpx2

from hutch.core.errors import SourceFailed

MAX_REDIRECTS = 5


def follow(
    client: httpx2.Client, url: str, headers: dict[str, str], *, stall_s: float, may_be_plain: bool
) -> httpx2.Response:
    """Ask for a file, following redirects that stay as safe as the address was. The answer is still to be read."""
    shown, began_public = without_secrets(url), _is_public(url)
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and (may_be_plain or is_loopback(url))):
            raise SourceFailed(f"{without_secrets(url)} is not https", hint="Use an https address.")
        if began_public and not _is_public(url):
            raise SourceFailed(f"{shown} leads to an address inside a private network")
        request = client.build_request("GET", url, headers=headers, timeout=httpx2.Timeout(stall_s))
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if began_public:
                _check_peer(response, shown)
            if not response.has_redirect_location:
                return response
            url = urljoin(url, response.headers["Location"])
            if parts.scheme == "https" and urlsplit(url).scheme != "https":
                raise SourceFailed(f"{shown} leads away from https")
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


def _is_public(url: str) -> bool:
    """Whether every address of the host is a public one. A host that we cannot look up is the proxy's to judge."""
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_global for each in found)


def _check_peer(response: httpx2.Response, shown: str) -> None:
    """Look at who really answered: a name may mean one address when asked about and another when connected to."""
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer is None or urllib.request.getproxies():  # behind a proxy, the peer is the proxy
        return
    if not ipaddress.ip_address(str(peer[0]).partition("%")[0]).is_global:
        raise SourceFailed(f"{shown} leads to an address inside a private network")
