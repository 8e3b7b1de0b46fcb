"""Bytes of a growing file or an HTTP response, copied into a pipe that the decoder process reads.

So that process needs neither the file system nor the network, and can be sealed before it has read
a byte. Only the address that was named is contacted: redirects aren't followed.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from threading import Thread
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from dycoke_cli.errors import VideoError
from dycoke_cli.unicode import display_name
from dycoke_cli.video.live.live_address import LiveAddress
from dycoke_cli.video.open_file import open_file

_CHUNK_BYTES = 64 * 1024
_LOOK_S = 0.1


class Feeder:
    """A pipe, and the thread that fills it.

    Args:
        timeout_s: after so many seconds without a byte, the pipe is closed.

    Attributes:
        reader: end of the pipe that is read; the caller closes it.
        failure: why the source ended before its time; None if it didn't. Set before the pipe ends.
        note: sentence about a file that doesn't grow any more, or None; likewise.
    """

    def __init__(self, address: LiveAddress, timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s
        self.failure: VideoError | None = None
        self.note: str | None = None
        reader, self._writer = os.pipe()
        self.reader = open(reader, "rb", buffering=0)  # noqa: SIM115 (the caller closes it)
        Thread(target=self._feed, name="feeder", daemon=True).start()

    def _feed(self) -> None:
        chunks = self._growing() if self._address.kind == "file" else self._response()
        with suppress(BrokenPipeError), open(self._writer, "wb", buffering=0) as pipe:
            try:
                for chunk in chunks:
                    left = memoryview(chunk)
                    while left:
                        left = left[pipe.write(left) :]
            except VideoError as error:
                self.failure = error

    def _growing(self) -> Iterator[bytes]:
        """Bytes of a file, until it hasn't grown for some time."""
        path, name = self._address.given, self._address.name
        deadline = time.monotonic() + self._timeout_s
        # A recorder may have created it a moment ago.
        with suppress(OSError, ValueError):
            while os.path.getsize(path) == 0 and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
        with open_file(path, name) as file:
            while (chunk := file.read(_CHUNK_BYTES)) or time.monotonic() < deadline:
                if chunk:
                    yield chunk
                    deadline = time.monotonic() + self._timeout_s
                else:
                    time.sleep(_LOOK_S)
        self.note = f"{name} hasn't grown for {self._timeout_s:g} s (--timeout)"

    def _response(self) -> Iterator[bytes]:
        """Bytes of an HTTP response."""
        name = self._address.name
        stalled = VideoError(f"{name} has sent nothing for {self._timeout_s:g} s (--timeout)")
        try:
            with self._opened() as response:
                while chunk := response.read1(_CHUNK_BYTES):
                    yield chunk
                if response.length:  # bytes that were announced
                    raise http.client.IncompleteRead(b"", response.length)
        except TimeoutError as error:
            raise stalled from error
        except HTTPError as error:
            raise VideoError(f"{name} {_refusal(error)}") from error
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise stalled from error
            reason = display_name(str(error.reason))
            raise VideoError(f"{name} can't be reached ({reason}): check the address") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise VideoError(f"{name} broke off: its answers end here") from error

    def _opened(self) -> Any:
        headers = {"User-Agent": "dycoke", "Accept": "video/*,*/*;q=0.5"}
        request = Request(self._address.given, headers=headers)
        return build_opener(_NoRedirects).open(request, timeout=self._timeout_s)


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _refusal(error: HTTPError) -> str:
    if (location := error.headers.get("Location")) is not None:
        return f"redirects to {display_name(location)}: watch that address"
    return f"answers with the status {error.code}: check the address"
