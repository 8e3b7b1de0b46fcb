"""Videos of requests, as files: what is in the request, in the folder for media, or fetched.

Requests are untrusted: only files below the folders for media are opened, and addresses are fetched
only with `--allow-http`: from a public IP address that was checked, for each redirect as well. So
a name that resolves to a private one the second time (DNS rebinding) has no effect.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from dycoke_cli.server.limits import Allowance
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_body import Spooled, data_url
from dycoke_cli.storage.output_file import temporary_folder

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
                    raise Refused(f"the address of the video answers {response.status}")
                return _read(response, most_bytes)
    except (OSError, HTTPException, ValueError) as error:
        raise Refused("the address of the video can't be fetched") from error
    raise Refused(f"the address of the video redirects more than {_MOST_REDIRECTS} times")


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
            raise Refused("the address of a video must be http or https")
        if parts.username is not None or parts.password is not None:
            raise Refused("the address of a video must have no user and no password")
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
            raise Refused("the address of the video is private; only public ones are fetched")
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
            raise Refused(f"the video is larger than {most_bytes / 1024**2:.0f} MiB", status=413)
    expected = response.getheader("Content-Length")
    if expected is not None and expected.isdecimal() and len(content) < int(expected):
        raise Refused("the address of the video sent only a part of it in time")
    return bytes(content)


JPEGS = "video/jpeg"
"""Type of a `data:` URL with a list of JPEGs."""
_JPEG = b"\xff\xd8\xff"
_ALPHABET = bytes.maketrans(b"-_", b"+/")  # of base64 in URLs
_LINE_ENDS = b"\r\n"
_FILE_URL = "file://"
_PIECE_BYTES = 1024**2
_MOST_PICTURES = 20_000
_LONGEST_ESCAPE = 6


@dataclass(frozen=True)
class Media:
    """Where videos may come from."""

    roots: tuple[Path, ...] = ()  # the folders whose files requests may name
    allow_http: bool = False  # whether addresses are fetched
    most_bytes: int = 256 * 1024**2  # of a video that is fetched
    timeout_s: float = 30.0  # for all of a fetch
    # the videos of a request's body, by the names that stand for them
    received: Mapping[str, Spooled] = field(default_factory=dict)


@dataclass(frozen=True)
class MediaFile:
    """A video that can be read."""

    path: str | tuple[str, ...]  # of the file; of pictures, those of all
    digest: str  # tells its content from that of others
    shown: str  # what to call it in errors
    frames: int | None = None  # how many pictures it consists of; None of a video


@contextmanager
def opened(url: str, media: Media, allowance: Allowance) -> Iterator[MediaFile]:
    """The file of an address, for the length of a block; one made for it is removed afterwards."""
    if url.partition(":")[0].lower() == "file":
        yield _below(url, media.roots)
        return
    with temporary_folder() as folder:
        yield _file(url, media, allowance, os.path.join(folder, "video"))


@contextmanager
def opened_pictures(urls: Sequence[str], media: Media, allowance: Allowance) -> Iterator[MediaFile]:
    """The pictures of some addresses, as the frames of one video, for the length of a block.

    The size and the time of a fetch are those of all together.
    """
    digest, left = hashlib.sha256(), media.most_bytes
    deadline = time.monotonic() + media.timeout_s
    paths: list[str] = []
    with temporary_folder() as folder:
        for number, url in enumerate(urls):
            path = os.path.join(folder, str(number))
            limits = replace(media, most_bytes=left, timeout_s=deadline - time.monotonic())
            one = _file(url, limits, allowance, path)
            if one.path == path and _is_fetched(url):
                left -= os.path.getsize(path)
            digest.update(one.digest.encode())
            assert isinstance(one.path, str)
            paths.append(one.path)
        yield MediaFile(tuple(paths), digest.hexdigest(), "the video", len(paths))


def _file(url: str, media: Media, allowance: Allowance, path: str) -> MediaFile:
    """The file of an address; what isn't one already is written to `path`."""
    scheme = url.partition(":")[0].lower()
    if scheme == "file":
        return _below(url, media.roots)
    if scheme == "data":
        return _write_inline(url, media.received, path, allowance)
    if _is_fetched(url):
        if not media.allow_http:
            raise Refused("this server fetches no addresses (--allow-http): send the video")
        content = fetch(url, media.most_bytes, min(media.timeout_s, allowance.left_s), allowance)
        digest = hashlib.sha256(content).hexdigest()
        Path(path).write_bytes(content)
    else:
        raise Refused("the url of a video must begin with data:, file:// or http")
    return MediaFile(path, digest, "the video")


def _is_fetched(url: str) -> bool:
    return url.partition(":")[0].lower() in ("http", "https")


def _below(url: str, roots: Sequence[Path]) -> MediaFile:
    """The file below a folder for media that a URL names."""
    if not roots:
        raise Refused("this server reads no files (--media-root): send the video")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Refused("the url of the video isn't one") from error
    if not url[: len(_FILE_URL)].lower() == _FILE_URL:
        raise Refused("a file's url is file:// and its path")
    # As in vLLM, a path without a leading slash begins in the folder where the server was started.
    path = parts.path if parts.netloc == "localhost" else parts.netloc + parts.path
    real = inside(Path(unquote(path, errors="surrogateescape")), roots)
    if real is None:
        # The same error for files outside and missing files: nobody learns what other folders have.
        raise Refused(
            "there is no such file below the folder for media", status=404, code="video_unreadable"
        )
    status = real.stat()
    about = (os.fspath(real), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return MediaFile(os.fspath(real), hashlib.sha256(repr(about).encode()).hexdigest(), real.name)


def inside(path: Path, roots: Sequence[Path]) -> Path | None:
    """The file at a path, if it is below one of some folders.

    Resolved before the check, so that neither `..` nor a link leads outside.
    """
    try:
        real = path.resolve(strict=True)
        is_below = any(map(real.is_relative_to, (root.resolve() for root in roots)))
        return real if is_below and real.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _write_inline(
    url: str, received: Mapping[str, Spooled], path: str, allowance: Allowance
) -> MediaFile:
    """Write the content of a `data:` URL to a file, or each JPEG of a list to its own."""
    kind, start = data_url(url)
    data = url[start:]
    if not start:
        raise Refused(
            "a data: url must be data:video/mp4;base64,… (or of another video or picture type)"
        )
    pieces = _pieces(received[data]) if data in received else [data.encode("utf-8", "replace")]
    with closing(_Base64Writer(path, allowance)) as writer:
        if kind != JPEGS:
            for piece in pieces:
                writer.add(piece)
            writer.end()
            return MediaFile(path, writer.digest.hexdigest(), "the video")
        paths = [path]
        for piece in pieces:
            if len(paths) + piece.count(b",") > _MOST_PICTURES:
                raise Refused(f"a list of JPEGs may have {_MOST_PICTURES}")
            first, *others = piece.split(b",")
            writer.add(first)
            for other in others:
                _end_picture(writer)
                paths.append(f"{path}-{len(paths)}")
                writer.begin(paths[-1])
                writer.add(other)
        _end_picture(writer)
        return MediaFile(tuple(paths), writer.digest.hexdigest(), "the video", len(paths))


def _end_picture(writer: _Base64Writer) -> None:
    if writer.end() != _JPEG:
        raise Refused("data:video/jpeg;base64,… is a list of JPEGs with commas between them")


class _Base64Writer:
    """Decodes base64 that comes in pieces, and writes it to a file."""

    def __init__(self, path: str, allowance: Allowance) -> None:
        self.digest = hashlib.sha256()
        self._file, self._allowance = open(path, "wb"), allowance  # noqa: SIM115
        self._rest = self._begin = b""

    def begin(self, path: str) -> None:
        """Write to this file from now on."""
        self.close()  # equivalent: CPython closes a file that is replaced
        self._file = open(path, "wb")  # noqa: SIM115

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, text: bytes) -> None:
        """Decode the next piece; its last characters are left, as they may be padded."""
        text = self._rest + text.translate(_ALPHABET, _LINE_ENDS)
        whole = max(0, len(text) - 1) // 4 * 4
        if b"=" in text[:whole]:
            raise _not_base64()
        self._decode(text[:whole])
        self._rest = text[whole:]

    def end(self) -> bytes:
        """Decode what is left, padded or not; gives the first bytes of all since the last end."""
        self._decode(self._rest + b"=" * (-len(self._rest) % 4))
        if not self._begin:
            raise Refused("the video is empty")
        begin, self._rest, self._begin = self._begin, b"", b""
        return begin

    def _decode(self, text: bytes) -> None:
        self._allowance.check()
        try:
            content = b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _not_base64() from error
        self._begin = (self._begin + content[: len(_JPEG)])[: len(_JPEG)]
        self.digest.update(content)
        self._file.write(content)


def _pieces(video: Spooled) -> Iterable[bytes]:
    """The content of a JSON string in a file, a piece at a time."""
    video.file.seek(video.start)
    rest, left = b"", video.size
    while left:
        piece = video.file.read(min(left, _PIECE_BYTES))
        left -= len(piece)
        piece = rest + piece
        # Some clients escape "/" or "+", and an escape may be cut off.
        cut = piece.rfind(b"\\", max(0, len(piece) - _LONGEST_ESCAPE + 1))
        piece, rest = (piece, b"") if cut < 0 else (piece[:cut], piece[cut:])
        yield _unescaped(piece)
    yield _unescaped(rest)


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    try:
        found: str = json.loads(b'"%s"' % text)
    except ValueError as error:
        raise _not_base64() from error
    return found.encode("utf-8", "replace")


def _not_base64() -> Refused:
    return Refused("the video isn't valid base64")
