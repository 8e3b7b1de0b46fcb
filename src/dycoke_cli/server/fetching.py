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
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import SplitResult, urljoin, urlsplit

from dycoke_cli.server.refused import Refused

_MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK_BYTES = 1024**2
_PORTS = {"http": 80, "https": 443}


def fetch(url: str, most_bytes: int, timeout_s: float) -> bytes:
    """The content of an address.

    Args:
        url: http or https.
        most_bytes: more is refused.
        timeout_s: for all of it.

    Raises:
        Refused: it is private, or can't be fetched within the limits.
    """
    deadline = time.monotonic() + timeout_s
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            parts = urlsplit(url)
            connection = _Connection(parts, deadline)
            try:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", path, headers={"Accept": "video/*,*/*;q=0.5"})
                response = connection.getresponse()
                if response.status in _REDIRECTS:
                    url = urljoin(url, response.getheader("Location") or "")
                    continue
                if response.status != 200:
                    raise Refused(400, f"the address of the video answers {response.status}")
                return _read(response, most_bytes)
            finally:
                connection.close()
    except (OSError, HTTPException, ValueError) as error:
        raise Refused(400, "the address of the video can't be fetched") from error
    raise Refused(400, f"the address of the video redirects more than {_MOST_REDIRECTS} times")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, and not one that only stands for it."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside:
            return is_public(str(inside))
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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
        super().__init__(parts.hostname, parts.port or _PORTS[parts.scheme])

    def connect(self) -> None:
        """Connect to the first address of the name, all of which must be public."""
        entries = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in entries]
        if not addresses or not all(is_public(address.partition("%")[0]) for address in addresses):
            raise Refused(400, "the address of the video is private; only public ones are fetched")
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        self.sock = socket.create_connection((addresses[0], self.port), left)
        # A socket's timeout is for each call: a byte now and then would extend it forever.
        self._end = threading.Timer(left, self._shut)
        self._end.daemon = True
        self._end.start()
        if self._secure:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock.do_handshake()

    def close(self) -> None:
        """Close it, whatever is still on its way."""
        if self._end is not None:
            self._end.cancel()
        super().close()

    def _shut(self) -> None:
        with suppress(OSError):
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
