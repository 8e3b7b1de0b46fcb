"""Addresses in requests: public ones, within a size and a time, and no redirect to another."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from dycoke_cli.server import media
from dycoke_cli.server.media import fetch, is_public
from dycoke_cli.server.refused import Refused
from tests.server.pretended import ample

MOST, PATIENCE_S, SLOW_S = 1000, 5.0, 4.0


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
     "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1",
     "64:ff9b:1::1", "64:ff9b:1::1.1.1.1", "fec0::1", "::127.0.0.1", "::1.1.1.1",
     "::ffff:0:127.0.0.1", "::ffff:0:1.1.1.1", "5f00::1", "4000::1", "3fff::1", "2001:db8::1",
     "2001::1", "2001:20::1", "2620:4f:8000::1", "fe80::5efe:10.0.0.1", "2606:4700::5efe:7f00:1",
     "2606:4700::200:5efe:101:101", "192.88.99.1", "192.175.48.1", "192.0.0.9", "198.18.0.1",
     "240.0.0.1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e", "2002:101:101::",
     "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/x", "http://localhost:1/x", "http://[::1]/x", "http://2130706433/",
     "http://0x7f.1/", "http://0/", "http://169.254.169.254/latest/meta-data/",
     "http://[::ffff:127.0.0.1]/"],
)  # fmt: skip
def test_private_addresses_however_they_are_written(url: str) -> None:
    with pytest.raises(Refused, match=r"private|can't be fetched"):
        fetch(url, MOST, PATIENCE_S, ample())


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://user:secret@example.org/", "no user and no password"),
        ("http:///x", "must be http or https"),
        ("http://example.org:99999/", "can't be fetched"),
        ("http://exa mple.org/\r\nX: y", "can't be fetched"),
    ],
)
def test_no_addresses(url: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        fetch(url, MOST, PATIENCE_S, ample())


class Site:
    """Sends what it is told to, to everybody who connects."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.pause_s = 0.0
        self.asked: list[bytes] = []
        self.away = 0  # addresses at which nobody answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection, suppress(OSError):
                    self.asked.append(connection.recv(4096))
                    for piece in self.pieces:
                        connection.sendall(piece)
                        time.sleep(self.pause_s)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site at an address that passes for public, named public.test; private.test isn't."""
    site = Site()
    monkeypatch.setattr(media, "is_public", lambda address: address == "127.0.0.1")

    names = {"public.test": "127.0.0.1", "private.test": "127.0.0.2", "slow.test": "127.0.0.1"}
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *more: Any, **options: Any) -> Any:
        if host == "slow.test":
            time.sleep(SLOW_S)
        found = real(names.get(host, host), port, *more, **options)
        return found * (3 if host == "public.test" else 1)

    monkeypatch.setattr(media.socket, "getaddrinfo", resolve)
    connect = socket.create_connection

    def connected(where: tuple[str, int], timeout_s: float) -> socket.socket:
        if site.away:
            site.away -= 1
            raise ConnectionRefusedError
        return connect((where[0], site.port), timeout_s)

    monkeypatch.setattr(media.socket, "create_connection", connected)
    yield site
    site.close()


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def test_a_video(site: Site) -> None:
    site.pieces = [head("200 OK", "Content-Length: 5"), b"video"]
    for site.away in (0, 2):  # of three addresses
        assert fetch("http://public.test/a?b=c", MOST, PATIENCE_S, ample()) == b"video"
        assert site.asked.pop().startswith(b"GET /a?b=c HTTP/1.1\r\nHost: public.test\r\n")
    site.away = 3
    with pytest.raises(Refused, match="can't be fetched"):
        fetch("http://public.test/", MOST, PATIENCE_S, ample())


@pytest.mark.parametrize("ends", [False, True])
def test_a_name_that_is_not_resolved_in_time(site: Site, ends: bool) -> None:
    """Nor while somebody waits for it."""
    allowance, began = ample(), time.monotonic()
    if ends:
        threading.Timer(0.3, allowance.end, (Refused("gone", status=499),)).start()
    with allowance, pytest.raises(Refused, match="gone" if ends else "can't be fetched"):
        fetch("http://slow.test/", MOST, PATIENCE_S if ends else 0.3, allowance)
    assert time.monotonic() - began < SLOW_S / 2


def test_the_last_half_second_is_time_as_well() -> None:
    parts = urlsplit("http://clips.example/a.mp4")
    assert 0 < media._Connection(parts, time.monotonic() + 0.5)._left_s() <= 0.5
    with pytest.raises(TimeoutError):
        media._Connection(parts, time.monotonic())._left_s()


def test_too_much(site: Site) -> None:
    site.pieces = [head("200 OK"), b"x" * (MOST + 1)]
    with pytest.raises(Refused, match="larger than") as caught:
        fetch("http://public.test/", MOST, PATIENCE_S, ample())
    assert caught.value.status == 413


@pytest.mark.parametrize("pieces", [[b"x"] * 100, [head("200 OK"), *[b"x"] * 100]])
def test_a_site_that_sends_a_byte_now_and_then(site: Site, pieces: list[bytes]) -> None:
    site.pieces, site.pause_s = pieces, 0.1
    if len(pieces) == 101:
        site.pieces = [head("200 OK", "Content-Length: 100"), *pieces[1:]]
    began = time.monotonic()
    with pytest.raises(Refused):
        fetch("http://public.test/", MOST, 0.5, ample())
    assert time.monotonic() - began < 3


def test_only_a_part(site: Site) -> None:
    site.pieces = [head("200 OK", "Content-Length: 5"), b"vid"]
    with pytest.raises(Refused):
        fetch("http://public.test/", MOST, PATIENCE_S, ample())


def test_redirects_are_checked(site: Site) -> None:
    site.pieces = [head("302 Found", "Location: http://private.test/", "Content-Length: 0")]
    with pytest.raises(Refused, match="private"):
        fetch("http://public.test/", MOST, PATIENCE_S, ample())
    site.pieces = [head("302 Found", "Location: file:///etc/passwd", "Content-Length: 0")]
    with pytest.raises(Refused, match="must be http"):
        fetch("http://public.test/", MOST, PATIENCE_S, ample())
    site.pieces = [head("302 Found", "Location: /again", "Content-Length: 0")]
    with pytest.raises(Refused, match="redirects more than 3 times"):
        fetch("http://public.test/", MOST, PATIENCE_S, ample())
    assert len(site.asked) == 6


def test_a_site_that_has_none(site: Site) -> None:
    site.pieces = [head("404 Not Found", "Content-Length: 0")]
    with pytest.raises(Refused, match="answers 404"):
        fetch("http://public.test/", MOST, PATIENCE_S, ample())
