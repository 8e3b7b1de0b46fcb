"""Access to the server: with a key, or without one from this machine, but from no web page."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dycoke_cli.errors import UsageError
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.replies import json_reply
from dycoke_cli.unicode import display_name

KEY = "DYCOKE_API_KEY"
"""The environment variable with the keys, one a line: they are taken from nowhere else."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEALTH, METRICS = "/health", "/metrics"
_CLOSED = {"Connection": "close"}


@dataclass(frozen=True)
class Access:
    """Checks the headers of every request before anything reads it."""

    # that gets what is allowed, with the number of its key as `state.owner` (None: no keys)
    app: ASGIApp
    # of which a request must bring one; without any, only hosts of this machine may be named
    keys: tuple[str, ...]
    count: Callable[[int], None]  # called with the status of every reply, but not to probes
    origins: frozenset[str] = frozenset()  # of web pages that may ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as of ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        headers = Headers(scope=scope)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                if scope["path"] not in (HEALTH, METRICS):
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
            await json_reply(reason.document, reason.status, reason.headers)(
                scope, receive, counted
            )
            return
        scope["state"]["owner"] = owner
        # At the end of the server, when the connection is closed already: nothing is to be logged.
        with suppress(asyncio.CancelledError):
            await self.app(scope, receive, counted)


def check_framing(headers: Headers) -> None:
    """Check that a request has one length: with two, a proxy may see other requests."""
    if "content-length" in headers and "transfer-encoding" in headers:
        raise Refused(
            "a request has Content-Length or Transfer-Encoding, not both", headers=_CLOSED
        )


def check(
    headers: Headers,
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
    if not keys:
        for name in ("host", "origin"):
            if name == "origin" and headers.get(name) in origins:
                continue
            if name in headers and _host(headers[name]) not in LOOPBACK:
                raise Refused(
                    f"without a key only this machine may ask, and the header {name.title()} is "
                    f"{display_name(headers[name])[:100]}: start the server with {KEY}",
                    status=403,
                    code="forbidden",
                )
        if "host" not in headers:
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


def key_of(headers: Headers, keys: tuple[str, ...]) -> int | None:
    """The number of the key that a request brings; None of none."""
    given = headers.get("authorization", "").encode("latin-1")
    # Bytes throughout: the last byte of "à" in UTF-8 is a space of Latin-1.
    scheme, _, brought = given.partition(b" ")
    # In constant time: the duration of `==` tells how many characters are correct.
    correct = [hmac.compare_digest(brought.strip(b" \t"), key.encode()) for key in keys]
    return correct.index(True) if any(correct) and scheme.lower() == b"bearer" else None


def _host(value: str) -> str | None:
    """The name in a `Host` or `Origin` header; None of what has none."""
    try:
        return urlsplit(value if "://" in value else f"//{value}").hostname
    except ValueError:
        return None
