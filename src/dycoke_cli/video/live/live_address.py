"""What `dycoke watch` can watch, by how it is named; imports no PyAV."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import display_name

Kind = Literal["file", "folder", "device", "http", "rtsp"]
_KINDS: dict[str, Kind] = {"http": "http", "https": "http", "rtsp": "rtsp", "rtsps": "rtsp"}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # two letters: C:/ is a drive


@dataclass(frozen=True)
class LiveAddress:
    """A file, a folder, a capture device or a stream."""

    given: str  # path or URL
    kind: Kind  # of what it names; "file" also where nothing is there
    name: str  # for the user: without user and password, escaped for a terminal

    @property
    def needs_network(self) -> bool:
        """Whether a connection is made."""
        return self.kind in ("http", "rtsp")


def parse_address(given: str) -> LiveAddress:
    """Tell what a path or a URL names."""
    if (match := _SCHEME.match(given)) is None:
        return LiveAddress(given, _kind_of_path(given), display_name(given))
    kind = _KINDS.get(match[1].lower())
    if kind is None:
        raise UsageError(
            f"{match[1]}:// can't be watched: name a file, a folder, a device such as /dev/video0, "
            "or an address with rtsp://, http:// or https://"
        )
    try:
        parts = urlsplit(given)
        host, secret = parts.hostname, parts.username or parts.password
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    except ValueError:
        host, secret, shown = None, None, None
    if not host or shown is None:
        raise UsageError("the address of the stream isn't valid: check its spelling")
    if secret and kind == "http":
        raise UsageError("an http address with a user or a password can't be watched: use rtsp://")
    return LiveAddress(given, kind, display_name(urlunsplit(shown)))


def _kind_of_path(path: str) -> Kind:
    with suppress(OSError, ValueError):  # what isn't there is reported when it is opened
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return "folder"
        if stat.S_ISCHR(mode):
            return "device"
    return "file"
