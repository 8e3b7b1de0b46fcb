"""Fetches a video from a public address, within a size and a time, and from nowhere private.

The connection is made to the IP address that was checked, for each redirect as well. So a name that
resolves to a private address the second time (DNS rebinding) has no effect.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import SplitResult, urljoin, urlsplit

from dycoke_cli.server.allowance import Allowance
from dycoke_cli.server.refused import Refused

_MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK_BYTES = 1024**2
_PORTS = {"http": 80, "https": 443}


def fetch(url: str, most_bytes: int, timeout_s: float, allowance: Allowance) -> bytes:
    """The content of an address."""
    deadline = time.monotonic() + timeout_s
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            parts = urlsplit(url)
            connection = _Connection(parts, deadline)
            with closing(connection), allowance.stopping(connection.shut):
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", path, headers={"Accept": "video/*,*/*;q=0.5"})
                response = connection.getresponse()
                if response.status in _REDIRECTS:
                    url = urljoin(url, response.getheader("Location") or "")
                    continue
                if response.status != 200:
                    raise Refused(400, f"the address of the video answers {response.status}")
                return _read(response, most_bytes)
    except (OSError, HTTPException, ValueError) as error:
        raise Refused(400, "the address of the video can't be fetched") from error
    raise Refused(400, f"the address of the video redirects more than {_MOST_REDIRECTS} times")


def is_public(address: str) -> bool:
    """Whether an IP address is a host's on the public internet, and doesn't stand for another's.

    IPv6: of what IANA gives to hosts (global unicast, 2000::/3) all but its special registry, and
    no ISATAP address; 6to4 and NAT64 addresses are judged by the IPv4 address within.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        inside = last if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
        if inside:
            return is_public(str(inside))
        if ip not in _GLOBAL_UNICAST or int(ip) >> 32 & _ISATAP_MASK == _ISATAP:
            return False
    special = any(ip in network for network in _SPECIAL)
    return ip.is_global and not ip.is_multicast and not special


# https://www.iana.org/assignments/ipv6-address-space: whatever lies outside is nobody's, or not a
# public host's (fec0::/10, ::a.b.c.d, ::ffff:0:a.b.c.d, 5f00::/16, 64:ff9b:1::/48).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# For IPv4 behind a translator (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Of https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry,
# what some supported Python takes for global: the relays of 6to4 (RFC 7526), those of AS112, which
# answer for private networks (RFC 7534, 7535), Teredo, and documentation (RFC 9637).
_SPECIAL = [
    ipaddress.ip_network(network)
    for network in (
        "192.88.99.0/24", "192.31.196.0/24", "192.175.48.0/24", "192.52.193.0/24", "192.0.0.0/24",
        "2001::/23", "2620:4f:8000::/48", "3fff::/20",
    )
]  # fmt: skip
# The interface id of ISATAP (RFC 5214), 0000:5efe or 0200:5efe before an IPv4 address.
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFDFFFFFF


class _Connection(HTTPConnection):
    """To an address that was checked, with a deadline over everything."""

    def __init__(self, parts: SplitResult, deadline: float) -> None:
        if parts.scheme not in _PORTS or not parts.hostname:
            raise Refused(400, "the address of a video must be http or https")
        if parts.username is not None or parts.password is not None:
            raise Refused(400, "the address of a video must have no user and no password")
        self._secure = parts.scheme == "https"
        self._deadline = deadline
        self._end: threading.Timer | None = None
        self._resolved = Future[list[str]]()
        super().__init__(parts.hostname, parts.port or _PORTS[parts.scheme])

    def connect(self) -> None:
        """Connect to an address of the name that answers; all of them must be public."""
        # A resolver takes its time, and nothing ends it.
        threading.Thread(target=self._resolve, name="resolving", daemon=True).start()
        addresses = self._resolved.result(self._left_s())
        if not addresses or not all(is_public(address.partition("%")[0]) for address in addresses):
            raise Refused(400, "the address of the video is private; only public ones are fetched")
        for number, address in enumerate(addresses):
            share_s = self._left_s() / (len(addresses) - number)
            try:
                self.sock = socket.create_connection((address, self.port), share_s)
                break
            except OSError:
                if number == len(addresses) - 1:
                    raise
        self.sock.settimeout(self._left_s())
        # A socket's timeout is for each call: a byte now and then would extend it forever.
        self._end = threading.Timer(self._left_s(), self.shut)
        self._end.daemon = True
        self._end.start()
        if self._secure:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock.do_handshake()

    def _resolve(self) -> None:
        """Look up the addresses of the name; the body of a thread."""
        with suppress(InvalidStateError):  # nobody waits for them any more
            try:
                entries = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
                self._resolved.set_result([str(entry[4][0]) for entry in entries])
            except (OSError, ValueError) as error:
                self._resolved.set_exception(error)

    def _left_s(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        return left

    def close(self) -> None:
        """Close it, whatever is still on its way."""
        if self._end is not None:
            self._end.cancel()
        super().close()

    def shut(self) -> None:
        """End it, from another thread, at whatever it is."""
        self._deadline = 0.0
        self._resolved.cancel()
        with suppress(OSError, AttributeError):  # not connected any more, or not yet
            self.sock.shutdown(socket.SHUT_RDWR)


def _read(response: HTTPResponse, most_bytes: int) -> bytes:
    content = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        content += chunk
        if len(content) > most_bytes:
            raise Refused(413, f"the video is larger than {most_bytes / 1024**2:.0f} MiB")
    expected = response.getheader("Content-Length")
    if expected is not None and expected.isdecimal() and len(content) < int(expected):
        raise Refused(400, "the address of the video sent only a part of it in time")
    return bytes(content)
