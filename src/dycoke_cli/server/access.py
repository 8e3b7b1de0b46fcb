"""Access to the server: with a key, or without one from this machine, but from no web page."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dycoke_cli.errors import UsageError
from dycoke_cli.server.refused import Refused
from dycoke_cli.unicode import display_name, to_json

KEY = "DYCOKE_API_KEY"
"""The environment variable with the keys, one a line: they are taken from nowhere else."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEALTH = "/health"
_CLOSED = {"Connection": "close"}

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


@dataclass(frozen=True)
class Access:
    """Checks the headers of every request before anything reads it."""

    # that gets what is allowed, with the number of its key as `state.owner` (None: no keys)
    app: _App
    # of which a request must bring one; without any, only hosts of this machine may be named
    keys: tuple[str, ...]
    count: Callable[[int], None]  # called with the status of every reply
    origins: frozenset[str] = frozenset()  # of web pages that may ask

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """One request, as of ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        headers = named(scope["headers"])

        async def counted(message: _Message) -> None:
            if message["type"] == "http.response.start":
                self.count(message["status"])
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        try:
            check_framing(headers)
            owner = check(headers, self.keys, self.origins, scope["path"] != HEALTH)
        except Refused as reason:
            await reply(counted, reason)
            return
        scope["state"]["owner"] = owner
        # At the end of the server, when the connection is closed already: nothing is to be logged.
        with suppress(asyncio.CancelledError):
            await self.app(scope, receive, counted)


def check_framing(headers: list[tuple[str, bytes]]) -> None:
    """Check that a request has one length: with two, a proxy may see other requests."""
    names = {name for name, _ in headers}
    if {"content-length", "transfer-encoding"} <= names:
        raise Refused(
            "a request has Content-Length or Transfer-Encoding, not both", headers=_CLOSED
        )


def check(
    headers: list[tuple[str, bytes]],
    keys: tuple[str, ...],
    origins: Collection[str] = (),
    needs_key: bool = True,
) -> int | None:
    """Check who asks.

    Args:
        keys: of which it must bring one, if there are any.
        origins: of web pages that may ask without a key, beside those of this machine.
        needs_key: whether one must be known to ask for that at all.

    Returns:
        The number of its key; None without one.
    """
    given = {name: value.decode("latin-1") for name, value in headers}
    if not keys:
        for name in ("host", "origin"):
            if name == "origin" and given.get(name) in origins:
                continue
            if name in given and _host(given[name]) not in LOOPBACK:
                raise Refused(
                    f"without a key only this machine may ask, and the header {name.title()} is "
                    f"{display_name(given[name])[:100]}: start the server with {KEY}",
                    status=403,
                    code="forbidden",
                )
        if "host" not in given:
            raise Refused("the request has no Host")
        return None
    owner = key_of(headers, keys)
    if needs_key and owner is None:
        raise Refused(
            "the API key is missing or wrong",
            status=401,
            code="unauthorized",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return owner


def read_origins(given: Iterable[str]) -> frozenset[str]:
    """Origins of web pages, as `Origin` headers have them."""
    found = {one.rstrip("/").lower() for one in given}
    for origin in found:
        if re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\s*]+", origin) is None:
            raise UsageError(
                f"--cors takes an origin, such as https://chat.example, not {display_name(origin)}"
            )
    return frozenset(found)


def read_keys(given: str) -> tuple[str, ...]:
    """The keys in the value of `KEY`."""
    keys = tuple(dict.fromkeys(key for line in given.split("\n") if (key := line.strip(" \t\r"))))
    if given and not keys:
        raise UsageError(f"{KEY} is blank: put a key there, or unset it")
    return keys


def key_of(headers: list[tuple[str, bytes]], keys: tuple[str, ...]) -> int | None:
    """The number of the key that a request's headers, names in lower case, bring; None of none."""
    given = dict(headers).get("authorization", b"")
    # Bytes throughout: the last byte of "à" in UTF-8 is a space of Latin-1.
    scheme, _, brought = given.partition(b" ")
    # In constant time: the duration of `==` tells how many characters are correct.
    correct = [hmac.compare_digest(brought.strip(b" \t"), key.encode()) for key in keys]
    return correct.index(True) if any(correct) and scheme.lower() == b"bearer" else None


def named(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, bytes]]:
    """Headers as they came, with their names as text."""
    return [(name.decode("latin-1"), value) for name, value in headers]


async def reply(send: _Send, reason: Refused) -> None:
    """Send why a request isn't answered."""
    headers = {"content-type": "application/json", **reason.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reason.status, "headers": encoded})
    await send({"type": "http.response.body", "body": to_json(reason.document).encode()})


def _host(value: str) -> str | None:
    """The name in a `Host` or `Origin` header; None of what has none."""
    try:
        return urlsplit(value if "://" in value else f"//{value}").hostname
    except ValueError:
        return None
